"""`natop diff` of two readings of a real kernel, judged by what `conntrack` tells at the same moments."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel import product
from tests.kernel.test_scenes import in_scene
from tests.lab import oracle
from tests.lab.nathost import NatHost
from tests.lab.netns import wait_until

pytestmark = pytest.mark.kernel


@pytest.fixture
def host() -> Iterator[NatHost]:
    with NatHost() as built:
        yield built


def take(host: NatHost, file: Path, *arguments: str) -> dict[str, int]:
    """A snapshot in a file, and the judge's numbers beside it: nothing moves meanwhile."""
    done = product.natop(host.router, "snapshot", "--no-docker", "-o", str(file), *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    waiting = oracle.state_counts(host.router).get("TIME_WAIT", 0)
    return {**oracle.counters(host.router), "count": oracle.count(host.router), "time_wait": waiting}


def diff(before: Path, after: Path) -> Any:
    done = product.natop(None, "diff", str(before), str(after), "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def settled(host: NatHost, waiting: int) -> None:
    wait_until(lambda: oracle.state_counts(host.router).get("TIME_WAIT", 0) == waiting, what="all to be in TIME_WAIT")


@pytest.mark.parametrize("arguments", [(), ("--every", "0.5", "--count", "3"), ("--flows",)])
def test_what_happened_between_two_readings(host: NatHost, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Ports in a row are held, so that NAT looks for others, and connections are closed."""
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    host.close(3, port=81)
    settled(host, 3)
    before = take(host, first, *arguments)
    host.hold(range(32768, 61000))
    host.connect(20, client=1)
    host.close(9, port=81)
    wait_until(lambda: oracle.state_counts(host.router).get("TIME_WAIT", 0) >= 12, what="the closed ones to settle")
    oracle.quiet(host.router)
    after = take(host, second, *arguments)
    told = diff(first, second)
    assert told["same_boot"] is True
    assert told["elapsed_s"] > 0
    numbers = told["host"]
    assert after["found"] - before["found"] > 0, "NAT had to look for ports"
    for name in ("found", "insert", "insert_failed", "drop", "early_drop", "invalid"):
        assert numbers[name]["rise"] == after[name] - before[name], name
        assert numbers[name]["rise_per_min"] == pytest.approx(60 * numbers[name]["rise"] / told["elapsed_s"], rel=1e-2)
    for name in ("count", "time_wait"):
        assert (numbers[name]["before"], numbers[name]["after"]) == (before[name], after[name])
        assert numbers[name]["difference"] == after[name] - before[name] > 0
    assert numbers["insert_failed"]["before"] == (0 if "--every" in arguments else None)
    back = diff(second, first)
    assert back["host"]["count"]["difference"] == -numbers["count"]["difference"]
    assert back["host"]["found"]["rise"] == numbers["found"]["rise"]


def test_two_namespaces_are_not_counted_from_one_to_the_other(host: NatHost, tmp_path: Path) -> None:
    here, there = tmp_path / "here.json", tmp_path / "there.json"
    host.close(3)
    settled(host, 3)
    take(host, here)
    done = product.natop(host.clients[0], "snapshot", "--no-docker", "-o", str(there))
    assert done.returncode == 0
    told = diff(here, there)
    assert told["same_boot"] is False
    assert "another network namespace" in told["notes"][0]
    assert {each["rise"] for each in told["host"].values()} == {None}


def test_a_sysctl_that_was_changed(host: NatHost, tmp_path: Path) -> None:
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    take(host, before)
    host.router.sysctl("net.netfilter.nf_conntrack_tcp_timeout_time_wait", 30)
    take(host, after)
    changed = [each for each in diff(before, after)["facts"] if each["changed"]]
    assert [(each["key"], each["after"]) for each in changed] == [("sysctl:nf_conntrack_tcp_timeout_time_wait", "30")]


def test_the_end_of_a_race_between_two_files(tmp_path: Path) -> None:
    """The remedy as natop prints it, between two files; the judge of the losses is `conntrack -S`."""
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    lost = in_scene(
        "race",
        f"""
        def take(file):
            before = failed()
            command = [sys.executable, "-m", "natop", "snapshot", "--every", "1", "--count", "9", "-o", file]
            subprocess.run(command, check=True)
            return failed() - before

        for _ in range(5):
            lost = [take({str(first)!r})]
            findings = json.loads(open({str(first)!r}).read().splitlines()[-1])["findings"]
            races = [each for each in findings if each["rule"] == "snat-race"]
            if races:
                break
        for each in races[0]["remedies"][0]["commands"]:
            subprocess.run(["sh", "-c", each], check=True, stdout=subprocess.DEVNULL)
        time.sleep(1)
        lost.append(take({str(second)!r}))
        print(json.dumps(lost))
        """,
    )
    told = diff(first, second)
    assert lost[0] > 0
    assert lost[1] == 0
    failed = told["host"]["insert_failed"]
    assert 0 < failed["before"] * told["before"]["rates_over_s"] / 60 <= lost[0] + 0.01
    assert (failed["after"], failed["verdict"]) == (0, "better")
    assert ("gone", "snat-race") in [(each["fate"], each["rule"]) for each in told["findings"]]
    nat = {each["key"]: (each["before"], each["after"]) for each in told["facts"] if each["key"].startswith("nat:")}
    assert nat["nat:shop_default:172.18.0.0/16"] == ("MASQUERADE", "MASQUERADE fully-random")
    assert len(told["nat_rules"]["new"]) >= 1
    assert told["nat_rules"]["gone"] == []
