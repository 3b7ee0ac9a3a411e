"""Namespaces beside the host's: containers that its table cannot show, their own tables, and reading them by name."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from natop.columns.containers import CONTAINER_COLUMNS
from tests.docker.line import Line, containers, fill, network, rows, running, snapshot, to
from tests.lab import oracle, traffic
from tests.lab.dockerhost import HOST, OUTSIDE, DockerHost
from tests.lab.inject import Entry, inject
from tests.lab.netns import Namespace

ON_THE_WIRE = "198.18.0.78"
"""No other test's: neighbours remember for a minute whose an address was."""
NUMBERS = ("flows", "states", "kinds", "nat")


def test_a_container_without_network_has_no_numbers(docker_host: DockerHost, line: Line) -> None:
    target = f"container:{docker_host.inspect('nonet')[0]['Id']}"
    with running(docker_host, "joiner", target):
        line.until(present=["joiner"])
        found = line.containers()
    assert [found["nonet"][name] for name in NUMBERS] == [None] * 4
    assert [found["joiner"][name] for name in NUMBERS] == [None] * 4, "it shares what has no network"
    assert found["joiner"]["untracked"] == found["nonet"]["untracked"] == "no network"
    assert found["app1"]["flows"] == {"total": 0, "inbound": 0, "outbound": 0}


def test_macvlan_is_not_in_this_table(docker_host: DockerHost, line: Line) -> None:
    lan = ("--driver", "macvlan", "--subnet", "198.18.0.0/24", "--opt", "parent=pub0")
    on_lan = running(docker_host, "wired", "lan", "--ip", ON_THE_WIRE)
    with network(docker_host, "lan", *lan), on_lan as wired, running(docker_host, "tap", f"container:{wired}"):
        line.until(present=["wired", "tap"])
        with traffic.Responder(docker_host.inside("wired"), [ON_THE_WIRE], [80]):
            assert _reached(docker_host.outside, ON_THE_WIRE) == 2
            assert traffic.get(docker_host.inside("wired"), OUTSIDE, 443, 2) == 2
            table = docker_host.quiet()
        assert to(table, dst=ON_THE_WIRE) == to(table, src=ON_THE_WIRE) == [], "it bypasses the host's netfilter"
        taken = line.read()
    told = containers(taken)
    assert [place["driver"] for place in told["wired"]["networks"]] == ["macvlan"]
    for name in ("wired", "tap"):
        assert [told[name][number] for number in NUMBERS] == [None] * 4
        assert told[name]["untracked"] == "macvlan"
    assert [row for row in rows(taken).values() if "wired" in (row["client"], row["server"])] == []


def test_containers_own_tables(docker_host: DockerHost, line: Line) -> None:
    """User-defined networks have NAT rules for the embedded DNS, so that their containers track a second time."""
    docker_host.internal_calls("app1", "app2", 3)
    docker_host.docker("exec", "app1", "nslookup", "app2")
    with docker_host.hold_internal("app3", "app2", 2):
        docker_host.quiet()
        before = _filled(docker_host)
        taken = line.read()
        after = _filled(docker_host)
        again = line.tick()
    told = {each.container.name: each.own_table for each in taken.containers}
    assert after["app1"] > 0
    assert all(after[name] <= (told[name] or 0) <= before[name] for name in before), "entries only time out meanwhile"
    assert told["hostnet"] is told["nonet"] is None
    assert {each.container.name: each.own_table for each in again.containers} == told, "kept until the next dump"


def _filled(host: DockerHost) -> dict[str, int]:
    return {name: fill(host.inside(name)) for name in ("app1", "app2", "app3", "webserver", "web6")}


def test_a_container_of_the_default_bridge_tracks_nothing_itself(docker_host: DockerHost, line: Line) -> None:
    with running(docker_host, "plain", "bridge"):
        line.until(present=["plain"])
        docker_host.egress("plain")
        assert fill(docker_host.inside("plain")) == 0
        assert {each.container.name: each.own_table for each in line.read().containers}["plain"] is None


def test_embedded_dns_from_inside(docker_host: DockerHost) -> None:
    docker_host.docker("exec", "app1", "nslookup", "app2")
    process = docker_host.inspect("app1")[0]["State"]["Pid"]
    judged = _listed(docker_host.inside("app1"))
    document = snapshot("--netns", str(process), "--docker-host", docker_host.url)
    asked = [flow for flow in document["flows"] if flow["orig"]["dst"] == "127.0.0.11"]
    assert asked
    assert {(flow["orig"]["sport"], flow["reply"]["sport"]) for flow in asked} == judged
    for flow in asked:
        assert (flow["proto"], flow["orig"]["dport"]) == ("udp", 53)
        assert flow["client"] == "app1", "whose namespace it is: nslookup has long closed its socket"
        assert flow["reply"]["sport"] != 53
        assert "DST_NAT" in flow["status"]
    inode = docker_host.inside("app1").readlink()
    assert document["host"]["netns"] == str(inode)
    called = {flow[end] for flow in document["flows"] for end in ("client", "server")} - {None}
    assert _counted(document) == {"app1"} | called, "the flows of the others are elsewhere, which is not none"
    host_table = oracle.flows(docker_host.namespace)
    assert to(host_table, dst="127.0.0.11") == []


def test_in_a_container_s_namespace_the_others_are_dashes(docker_host: DockerHost) -> None:
    """In the document null, in text and Markdown a dash, in CSV nothing: never 0."""
    with running(docker_host, "fresh", "internal"):
        docker_host.egress("fresh", 2)
        place = str(docker_host.inspect("fresh")[0]["State"]["Pid"])
        document = snapshot("--netns", place, "--docker-host", docker_host.url)
        tables = {form: _table(docker_host, form, "--netns", place) for form in ("text", "md", "csv")}
    told = {each["name"]: each for each in document["containers"]}
    assert told["fresh"]["flows"] == {"total": 2, "inbound": 0, "outbound": 2}
    others = sorted(told.keys() - {"fresh"})
    assert [[told[name][number] for number in NUMBERS] for name in others] == [[None] * len(NUMBERS)] * len(others)
    assert {told[name]["rates"][number] for name in others for number in ("new", "gone", "time_wait")} == {None}
    for form, cells in tables.items():
        unknown = "" if form == "csv" else "-"
        assert cells["fresh"]["flows"] == "2"
        for name in others:
            assert {cells[name][key] for key in ("flows", "time_wait", "inbound", "outbound")} == {unknown}


def _table(host: DockerHost, form: str, *arguments: str) -> dict[str, dict[str, str]]:
    """The table of containers that `natop snapshot` prints, its cells by container and by the column's key."""
    command = [sys.executable, "-m", "natop", "snapshot", "--format", form, "--docker-host", host.url, *arguments]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    if form == "csv":
        return {row["name"]: row for row in csv.DictReader(io.StringIO(printed))}
    parts = re.compile(r" *\| *" if form == "md" else r" {2,}")
    lines = [parts.split(line.strip().strip("|").strip()) for line in printed.splitlines()]
    header = next(line for line in lines if line[0] == "CONTAINER")
    keys = {column.title: column.key for column in CONTAINER_COLUMNS}
    rows = (dict(zip((keys[title] for title in header), line, strict=False)) for line in lines)
    return {row["name"]: row for row in rows}


def test_a_sandbox_by_path(docker_host: DockerHost, tmp_path: Path) -> None:
    """A namespace named by a file alone, and no container's."""
    with Namespace("sbox") as sandbox, _mounted(sandbox, tmp_path / "sbox") as path:
        inject(sandbox, [Entry(src=OUTSIDE, dst=HOST, dport=8080, dnat="10.0.0.3", snat="10.0.0.2")])
        (judged,) = oracle.flows(sandbox)
        document = snapshot("--netns", str(path), "--docker-host", docker_host.url)
    (flow,) = (flow for flow in document["flows"] if flow["proto"] == "tcp")
    assert (flow["reply"]["src"], flow["reply"]["dst"]) == (judged["reply"]["src"], judged["reply"]["dst"])
    assert {"SRC_NAT", "DST_NAT"} <= set(flow["status"])
    assert document["conntrack"]["count"] == 1
    assert _counted(document) == set()


def test_the_engine_s_sandboxes_are_listed_and_can_be_read(docker_host: DockerHost, line: Line) -> None:
    """As `docker inspect` has their files; the engine's folder is not the usual one here."""
    expected = {
        each["Name"].lstrip("/"): each["NetworkSettings"]["SandboxKey"].rpartition("/")[2]
        for each in docker_host.inspect("app1", "app2", "webserver")
    }
    listed = {each.name: each.path for each in line.read().namespaces}
    assert {name: listed[name].rpartition("/")[2] for name in expected} == expected
    document = snapshot("--netns", listed["app1"], "--docker-host", docker_host.url)
    assert document["host"]["netns"] == str(docker_host.inside("app1").readlink())


def test_by_name_and_by_process(docker_host: DockerHost) -> None:
    docker_host.outside_get(8080, 2)
    docker_host.quiet()
    process = docker_host.inspect("hostnet")[0]["State"]["Pid"]
    for place in (docker_host.namespace.name, str(process)):
        document = snapshot("--netns", place, "--docker-host", docker_host.url)
        assert sum(flow["server"] == "webserver" for flow in document["flows"]) == 2
        assert _counted(document) == {each["name"] for each in document["containers"]} - {"nonet"}


def _reached(place: Namespace, host: str) -> int:
    """Two answers of its port 80; an interface that was just plugged in may take seconds to be found on the wire."""
    for _ in range(10):
        with suppress(OSError):
            return traffic.get(place, host, 80, 2)
        time.sleep(0.5)
    raise AssertionError(f"{host} cannot be reached")


def _counted(document: dict[str, Any]) -> set[str]:
    """The containers whose flows are known, be it none."""
    return {each["name"] for each in document["containers"] if each["flows"] is not None}


@contextmanager
def _mounted(namespace: Namespace, path: Path) -> Iterator[Path]:
    """The namespace under another name, as the engine's exec root names its sandboxes."""
    path.touch()
    subprocess.run(["mount", "--bind", namespace.path, path], check=True, timeout=30)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True, timeout=30)


def _listed(place: Path) -> set[tuple[int, int]]:
    """Of each question to the embedded DNS in a namespace: the port it came from, and the port that answers."""
    command = ["nsenter", f"--net={place}", "conntrack", "-L", "-d", "127.0.0.11"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    found = (re.findall(r"sport=(\d+)", line) for line in listing.splitlines())
    return {(int(first), int(second)) for first, second in found}
