"""Bytes of a real kernel, written by tests/lab/record.py, against what conntrack(8) said of the same table."""

import json
from pathlib import Path
from typing import Any

import pytest

from natop.decode import counters
from natop.decode.flows import decode_dump
from natop.model import Skipped
from natop.uapi import state_name
from tests.unit import plain

DATA = Path(__file__).parent.parent / "data"
SEEN_REPLY, ASSURED = 2, 4


def as_judged(flow: plain.Flow) -> dict[str, Any]:
    """A decoded flow in the words of the judge's JSON."""
    return {
        "family": {2: 4, 10: 6}[flow.family],
        "number": flow.proto,
        "orig": tuple_words(flow.orig, flow.proto),
        "reply": tuple_words(flow.reply, flow.proto),
        "state": None if flow.state is None else state_name(flow.proto, flow.state),
        "timeout_s": flow.timeout_s,
        "zone": flow.zone,
        "mark": flow.mark,
        "id": flow.id,
        "assured": bool(flow.status & ASSURED),
        "replied": bool(flow.status & SEEN_REPLY),
        "started_ns": flow.started_ns,
        "packets": flow.packets,
        "bytes": flow.bytes,
    }


def tuple_words(ends: plain.Ends, proto: int) -> dict[str, Any]:
    words: dict[str, Any] = {"src": ends.src, "dst": ends.dst}
    if proto in (plain.ICMP, plain.ICMPV6):
        return words | {"id": ends.sport, "type": ends.dport >> 8, "code": ends.dport & 0xFF}
    if proto == plain.IGMP:
        assert (ends.sport, ends.dport) == (0, 0)
        return words
    source, target = ("srckey", "dstkey") if proto == plain.GRE else ("sport", "dport")
    return words | {source: ends.sport, target: ends.dport}


def judged(text: str) -> dict[int, dict[str, Any]]:
    """The judge's flows by id; its counters of the two directions added up, as natop does."""
    found = {}
    for flow in json.loads(text):
        del flow["proto"]
        for name in ("packets", "bytes"):
            sides = [flow[side].pop(name, None) for side in ("orig", "reply")]
            flow[name] = None if None in sides else sum(sides)
        found[flow["id"]] = flow
    return found


@pytest.mark.parametrize("name", ["injected", "traffic"])
def test_flows_are_those_that_conntrack_lists(name: str) -> None:
    dump = decode_dump([(DATA / f"{name}.bin").read_bytes()])
    assert (dump.complete, dump.errno, dump.skipped) == (True, 0, Skipped())
    assert {flow.id: as_judged(flow) for flow in plain.rows(dump.flows)} == judged((DATA / f"{name}.json").read_text())


def test_nat_shows_in_the_status_bits() -> None:
    dump = decode_dump([(DATA / "traffic.bin").read_bytes()])
    for flow in plain.rows(dump.flows):
        snat = (flow.orig.src, flow.orig.sport) != (flow.reply.dst, flow.reply.dport)
        dnat = (flow.orig.dst, flow.orig.dport) != (flow.reply.src, flow.reply.sport)
        if flow.proto in (plain.TCP, plain.UDP):
            assert (bool(flow.status & plain.SRC_NAT), bool(flow.status & plain.DST_NAT)) == (snat, dnat)


def test_statistics_are_those_of_conntrack_s() -> None:
    expected = json.loads((DATA / "statistics.json").read_text())
    found = counters.conntrack((DATA / "statistics.bin").read_bytes(), {})
    assert found.counters == expected["counters"]
    assert found.count == expected["count"]
    assert found.max is not None
    assert found.max > 0


def test_proc_tells_the_same_counters() -> None:
    proc = {counters.STAT_FILE: (DATA / "statistics.txt").read_text()}
    assert counters.conntrack(b"", proc).counters == json.loads((DATA / "statistics.json").read_text())["counters"]
