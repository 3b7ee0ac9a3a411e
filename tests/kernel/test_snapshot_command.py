"""`natop snapshot` and `natop -b` as processes: what stands on stdout, what on stderr, and how they end."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
from datetime import datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.kernel import product
from tests.kernel.judge import as_row, assert_same, identity, plain
from tests.kernel.product import WITHOUT_NET_ADMIN, Row
from tests.lab import oracle
from tests.lab.fill import fill
from tests.lab.inject import Entry, inject
from tests.lab.netns import Namespace, wait_until

ENTRY = Entry(src="10.0.0.1", dst="10.0.0.2")
MIX = 600  # flows of every kind that `fill` knows


def test_json_flows_are_the_judge_s(namespace: Namespace) -> None:
    fill(namespace, MIX)
    document = product.snapshot(namespace, "--no-docker", "--flows")
    assert_same(document["flows"], oracle.flows(namespace))
    states = {state: number for state, number in document["conntrack"]["states"].items() if number}
    assert states == oracle.state_counts(namespace)
    assert document["conntrack"]["flows"] == document["conntrack"]["count"] == document["unowned"]["flows"] == MIX
    assert document["conntrack"]["skipped"] == {"messages": 0, "attributes": 0}
    assert document["gaps"] == []


def test_without_flows_the_document_has_none(namespace: Namespace) -> None:
    inject(namespace, [ENTRY])
    document = product.snapshot(namespace, "--no-docker")
    assert "flows" not in document
    assert document["conntrack"]["flows"] == 1
    assert document["host"]["docker"] is None
    assert document["containers"] is None


def test_csv_flows_are_the_judge_s(namespace: Namespace) -> None:
    fill(namespace, MIX)
    done = product.natop(namespace, "snapshot", "--no-docker", "--flows", "--format", "csv")
    assert (done.returncode, done.stderr) == (0, "")
    told = [from_csv(line) for line in csv.DictReader(io.StringIO(done.stdout))]
    table = {identity(row): row for row in map(as_row, oracle.flows(namespace))}
    assert len(told) == len(table) == MIX
    for row in told:
        expected = table[identity(row)]
        ends = {side: expected[side] | {"icmp": None} for side in ("orig", "reply")}
        assert plain(row) == expected | ends


def from_csv(line: dict[str, str]) -> Row:
    """A line of `--flows --format csv` as a row of the JSON document; CSV leaves out ICMP's numbers."""

    def number(name: str) -> int | None:
        return int(line[name]) if line[name] else None

    return {
        **{name: line[name] or None for name in ("proto", "state", "started_at")},
        **{name: number(name) for name in ("zone", "mark", "id", "packets", "bytes")},
        **{
            side: {
                **{end: line[f"{side}_{end}"] for end in ("src", "dst")},
                **{port: number(f"{side}_{port}") for port in ("sport", "dport")},
                "icmp": None,
            }
            for side in ("orig", "reply")
        },
        "status": line["status"].split(),
    }


def test_csv_of_containers_is_the_host_s_line(namespace: Namespace) -> None:
    fill(namespace, MIX)
    done = product.natop(namespace, "snapshot", "--no-docker", "--format", "csv")
    (line,) = csv.DictReader(io.StringIO(done.stdout))
    states = oracle.state_counts(namespace)
    told = (line["name"], line["flows"], line["established"], line["time_wait"])
    assert told == ("(host)", str(MIX), str(states["ESTABLISHED"]), str(states["TIME_WAIT"]))


@pytest.mark.parametrize("form", ["text", "md"])
def test_text_and_markdown_tell_the_states(namespace: Namespace, form: str) -> None:
    fill(namespace, MIX)
    done = product.natop(namespace, "snapshot", "--no-docker", "--flows", "--format", form)
    assert (done.returncode, done.stderr) == (0, "")
    text = done.stdout.replace("\\", "")  # what Markdown escapes
    for state, number in oracle.state_counts(namespace).items():
        assert f"{state} {number}" in text
    assert f"{MIX} of " in text
    flows = oracle.flows(namespace)
    assert all(f"{flow['orig']['src']}:{flow['orig']['sport']}" in text for flow in flows if flow["proto"] == "udp")
    assert all(flow["orig"]["src"] in text for flow in flows)


def test_batch_is_text_again_and_again(namespace: Namespace) -> None:
    inject(namespace, [ENTRY])
    done = product.natop(namespace, "-b", "-n", "3", "-d", "0.5", "--no-docker")
    assert (done.returncode, done.stderr) == (0, "")
    heads = re.findall(r"^host .* (\S+Z)$", done.stdout, re.MULTILINE)
    moments = [datetime.fromisoformat(head) for head in heads]
    assert len(moments) == 3
    for earlier, later in pairwise(moments):
        assert 0.4 < (later - earlier).total_seconds() < 10
    assert re.findall(r"^TCP +(.*)$", done.stdout, re.MULTILINE) == ["ESTABLISHED 1"] * 3
    rates = re.findall(r"new (\S+)", done.stdout)
    assert rates == ["-", "0.0/s", "0.0/s"], "a rate is unknown at first, never 0"
    assert "\x1b" not in done.stdout


def test_repeated_json_is_a_document_a_line(namespace: Namespace) -> None:
    inject(namespace, [ENTRY])
    done = product.natop(namespace, "snapshot", "--no-docker", "--flows", "--every", "0.5", "--count", "2")
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert first["interval_s"] is None
    assert 0.4 < second["interval_s"] < 10
    assert set(first["conntrack"]["rates"].values()) == {None}
    assert set(second["conntrack"]["rates"].values()) == {0.0}
    assert [flow["id"] for flow in first["flows"]] == [flow["id"] for flow in second["flows"]]


def test_filter_and_sort_on_a_real_table(namespace: Namespace) -> None:
    fill(namespace, MIX)
    document = product.snapshot(
        namespace, "--no-docker", "--flows", "--filter", "state:time_wait dst:203.0.113.10", "--sort", "timeout"
    )
    wanted = [flow for flow in oracle.flows(namespace) if flow["state"] == "TIME_WAIT"]
    ids = {flow["id"] for flow in wanted if flow["orig"]["dst"] == "203.0.113.10"}
    assert {flow["id"] for flow in document["flows"]} == ids != set()
    assert document["conntrack"]["flows"] == MIX


def nulls(part: Any) -> bool:
    """Whether a part of a document says that it is unknown, down to its last value."""
    return all(nulls(value) for value in part.values()) if isinstance(part, dict) else part is None


def test_without_the_right_a_snapshot_has_nulls_and_says_why(namespace: Namespace) -> None:
    inject(namespace, [ENTRY])
    document = product.snapshot(namespace, "--no-docker", by=WITHOUT_NET_ADMIN)
    conntrack = document["conntrack"]
    assert all(nulls(conntrack[name]) for name in ("flows", "states", "protocols", "rates", "skipped"))
    assert nulls(document["unowned"])
    assert (conntrack["count"], conntrack["counters"]["insert"]) == (1, 1)
    assert nulls(document["nat_rules"])
    assert [gap["source"] for gap in document["gaps"]] == ["flows", "rules"]
    for gap in document["gaps"]:
        assert "CAP_NET_ADMIN" in gap["reason"]
        assert "sudo" in gap["remedy"]


@pytest.mark.parametrize("form", ["json", "text"])
def test_flows_without_the_right_are_refused(namespace: Namespace, tmp_path: Path, form: str) -> None:
    inject(namespace, [ENTRY])
    target = tmp_path / "flows"
    arguments = ("snapshot", "--no-docker", "--flows", "--format", form)
    to_stdout = product.natop(namespace, *arguments, by=WITHOUT_NET_ADMIN)
    to_file = product.natop(namespace, *arguments, "-o", str(target), by=WITHOUT_NET_ADMIN)
    for done in (to_stdout, to_file):
        assert (done.returncode, done.stdout) == (3, "")
        assert "CAP_NET_ADMIN" in done.stderr
        assert 1 <= len(done.stderr.splitlines()) <= 3
    assert list(tmp_path.iterdir()) == []


def test_without_the_right_text_shows_dashes(namespace: Namespace) -> None:
    inject(namespace, [ENTRY])
    done = product.natop(namespace, "-b", "-n", "1", "--no-docker", by=WITHOUT_NET_ADMIN)
    assert done.returncode == 0
    assert re.search(r"^TCP +-$", done.stdout, re.MULTILINE)
    assert "not read: flows: reading conntrack needs CAP_NET_ADMIN" in done.stdout


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_it_between_documents(namespace: Namespace, number: int, status: int) -> None:
    inject(namespace, [ENTRY])
    with product.start(namespace, "snapshot", "--no-docker", "--flows", "--every", "0.5") as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(number)
        rest, complaint = process.communicate(timeout=20)
    assert process.returncode == status
    assert {len(json.loads(line)["flows"]) for line in (first, *rest.splitlines())} == {1}
    assert complaint.strip() == ""


def has_content(path: Path) -> bool:
    """Whether a file is there and not empty."""
    return path.exists() and path.stat().st_size > 0


def test_a_file_is_whole_or_not_there(namespace: Namespace, tmp_path: Path) -> None:
    """A signal keeps the documents read so far; SIGKILL leaves the target as it was."""
    for number, kept in ((signal.SIGINT, True), (signal.SIGTERM, True), (signal.SIGHUP, True), (signal.SIGKILL, False)):
        target = tmp_path / f"{number}.json"
        arguments = ("--no-docker", "--every", "0.5", "-o", str(target))
        with product.start(namespace, "snapshot", *arguments) as process:
            part = tmp_path / f".{target.name}.{process.pid}.part"
            wait_until(partial(has_content, part), what="a first document")
            process.send_signal(number)
            process.communicate(timeout=20)
        assert target.exists() == kept
        assert part.exists() != kept
        if kept:
            assert [json.loads(line)["schema"] for line in target.read_text().splitlines()]


def test_a_reader_that_goes_away_ends_it_quietly(namespace: Namespace) -> None:
    with product.start(namespace, "-b", "--no-docker", "-d", "0.5") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("host")
        process.stdout.close()
        process.stdout = None
        _, complaint = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGPIPE
    assert complaint == ""
