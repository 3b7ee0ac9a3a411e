"""What natop must tell about a table, worked out from what conntrack-tools tell about it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from tests.kernel.product import Row
from tests.lab import oracle

SEEN_BY_CONNTRACK = {"SEEN_REPLY", "ASSURED", "SRC_NAT", "DST_NAT"}
"""The status bits that the output of `conntrack -L` lets one work out."""
TOLERANCE_S = 2
OWNERS = ("client", "server", "client_other", "server_other", "network", "kind", "proxy")


def assert_same(told: Iterable[Row], table: Iterable[oracle.Flow], tolerance_s: float = TOLERANCE_S) -> None:
    """Each flow of the judge's table is told once and in every field alike, time left apart within the tolerance."""
    found = list(told)
    by_identity = {identity(row): row for row in found}
    assert len(by_identity) == len(found), "a flow is told twice"
    expected = {identity(as_row(flow)): flow for flow in table}
    assert by_identity.keys() == expected.keys()
    for key, flow in expected.items():
        row = by_identity[key]
        assert plain(row) == as_row(flow)
        assert "CONFIRMED" in row["status"]
        assert abs(row["timeout_s"] - flow["timeout_s"]) <= tolerance_s


def identity(row: Row) -> tuple[Any, ...]:
    """What tells a row from all others; ids are 32 bits of a hash, so that thousands of flows may share one."""
    orig = row["orig"]
    return (row["id"], row["zone"], row["proto"], orig["src"], orig["sport"], orig["dst"], orig["dport"])


def plain(row: Row) -> Row:
    """A row of natop's without the owners and the time left, its status cut to what conntrack shows."""
    left_out = {"timeout_s", *OWNERS}
    return {name: value for name, value in row.items() if name not in left_out} | {
        "status": SEEN_BY_CONNTRACK & set(row["status"]),
        "started_at": row["started_at"] and milliseconds(row["started_at"]),
    }


def as_row(flow: oracle.Flow) -> Row:
    """A flow of the judge's as natop's row must be, cut like `plain`."""
    orig, reply = flow["orig"], flow["reply"]
    status = {
        "SEEN_REPLY": flow["replied"],
        "ASSURED": flow["assured"],
        "SRC_NAT": "snat" in oracle.nat(flow),
        "DST_NAT": "dnat" in oracle.nat(flow),
    }
    return {
        "proto": str(flow["number"]) if flow["proto"] == "unknown" else flow["proto"],
        "state": flow["state"],
        "orig": _end(orig),
        "reply": _end(reply),
        "status": {name for name, is_set in status.items() if is_set},
        "zone": flow["zone"],
        "mark": flow["mark"],
        "id": flow["id"],
        "packets": _both(orig, reply, "packets"),
        "bytes": _both(orig, reply, "bytes"),
        "started_at": flow["started_ns"] and flow["started_ns"] // 1_000_000,
    }


def milliseconds(text: str) -> int:
    """RFC 3339 in UTC as milliseconds since the epoch."""
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def _end(tuple_: dict[str, Any]) -> Row:
    """One tuple: ports, or GRE's keys in their place, or ICMP's numbers, or nothing."""
    icmp = {name: tuple_[name] for name in ("id", "type", "code")} if "type" in tuple_ else None
    return {
        "src": tuple_["src"],
        "sport": tuple_.get("sport", tuple_.get("srckey")),
        "dst": tuple_["dst"],
        "dport": tuple_.get("dport", tuple_.get("dstkey")),
        "icmp": icmp,
    }


def _both(orig: dict[str, int], reply: dict[str, int], name: str) -> int | None:
    """Both directions together; None where the kernel does not count."""
    return orig[name] + reply[name] if name in orig and name in reply else None
