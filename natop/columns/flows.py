"""The columns of the table of flows, each declared once for the screen, the text table, CSV and sorting."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from natop.columns.ordering import numbers_by
from natop.join.flows import STATELESS, Flows, answering_end, called_end, client_end, flow_state, nat_text, stateless
from natop.model import (
    NO_STATE,
    U64,
    UNKNOWN32,
    UNKNOWN64,
    Addresses,
    Kind,
    Rows,
)
from natop.uapi import Ips, proto_name


@dataclass(frozen=True, slots=True)
class FlowColumn:
    key: str
    title: str
    width: int
    numeric: bool
    text: Callable[[Flows, int], str]
    """One cell; empty where there is nothing to tell."""
    order: Callable[[Flows], np.ndarray]
    """A key a row, by which the column sorts."""
    help: str
    rank: int = 1
    unknown: int | None = None
    """The key of rows for which the value is unknown."""


def sorted_flows(flows: Flows, rows: Rows, column: FlowColumn, descending: bool) -> Rows:
    """These rows of the flow table in the column's order; equal ones in the order in which they are given."""
    return numbers_by(column.order(flows), rows, descending, column.unknown)


def _state_order(flows: Flows) -> npt.NDArray[np.uint16]:
    """By protocol, then by state in the kernel's order; those without a state by STATELESS, behind."""
    table = flows.table
    without = np.uint16(NO_STATE) - np.uint16(len(STATELESS)) + stateless(table.status)
    return table.proto.astype(np.uint16) << np.uint16(8) | np.where(table.state == NO_STATE, without, table.state)


def address_order(addresses: Addresses, ports: npt.NDArray[np.uint16]) -> U64:
    """By address, then port. IPv6 addresses, of whose 128 bits a key holds 48, come near each other at the end."""
    v6 = ~addresses.is_ipv4()
    key = (addresses.lo & np.uint64(0xFFFF_FFFF)) << np.uint64(16) | ports
    if v6.any():
        key = np.where(v6, np.uint64(1 << 63) | addresses.hi ^ addresses.lo >> np.uint64(16), key)
    return key


NOBODY = -1
"""The key of an end whose owner is unknown."""


def _name_order(flows: Flows, owner: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """By name, without regard to case, be it a container's or that of others."""
    names = [*(container.name for container in flows.containers), *flows.attribution.others]
    _, ranks = np.unique([name.casefold() for name in names], return_inverse=True)
    keys = np.append(ranks, NOBODY).astype(np.int32)  # NOBODY is the last, where an owner of -1 looks
    return keys[np.where(owner < -1, len(flows.containers) - 2 - owner, owner)]


def _optional(column: U64 | None, row: int) -> str:
    value = UNKNOWN64 if column is None else int(column[row])
    return "" if value == UNKNOWN64 else f"{value:,}"


def _optional_order(column: U64 | None, flows: Flows) -> np.ndarray:
    return np.broadcast_to(np.uint64(UNKNOWN64), len(flows.table)) if column is None else column


def _timeout(flows: Flows, row: int) -> str:
    value = int(flows.table.timeout_s[row])
    return "" if value == UNKNOWN32 else f"{value:,}"


FLOW_COLUMNS = (
    FlowColumn(
        "proto",
        "PROTO",
        6,
        False,
        lambda f, r: proto_name(int(f.table.proto[r])),
        lambda f: f.table.proto,
        "protocol",
        2,
    ),
    FlowColumn(
        "state",
        "STATE",
        11,
        False,
        lambda f, r: flow_state(f.table, r),
        _state_order,
        "conntrack's state",
    ),
    FlowColumn(
        "src",
        "CLIENT",
        22,
        False,
        client_end,
        lambda f: address_order(f.table.orig_src, f.table.orig_sport),
        "who called",
        0,
    ),
    FlowColumn(
        "dst",
        "CALLED",
        22,
        False,
        called_end,
        lambda f: address_order(f.table.orig_dst, f.table.orig_dport),
        "what it called",
        0,
    ),
    FlowColumn(
        "answers",
        "ANSWERS",
        22,
        False,
        answering_end,
        lambda f: address_order(f.table.reply_src, f.table.reply_sport),
        "who answers, after DNAT",
        2,
    ),
    FlowColumn(
        "kind",
        "KIND",
        11,
        False,
        lambda f, r: Kind(int(f.attribution.kind[r])).name,
        lambda f: f.attribution.kind,
        "the way through NAT",
    ),
    FlowColumn(
        "timeout",
        "TIMEOUT",
        7,
        True,
        _timeout,
        lambda f: f.table.timeout_s,
        "seconds until the entry goes",
        2,
        UNKNOWN32,
    ),
    FlowColumn(
        "client",
        "FROM",
        14,
        False,
        lambda f, r: f.client(r) or "",
        lambda f: _name_order(f, f.attribution.client),
        "client container",
        2,
        NOBODY,
    ),
    FlowColumn(
        "server",
        "TO",
        14,
        False,
        lambda f, r: f.server(r) or "",
        lambda f: _name_order(f, f.attribution.server),
        "server container",
        2,
        NOBODY,
    ),
    FlowColumn(
        "nat",
        "NAT",
        9,
        False,
        lambda f, r: nat_text(f.table, r),
        lambda f: (f.table.status & np.uint32(Ips.DST_NAT | Ips.SRC_NAT)).astype(np.uint8),
        "which addresses NAT changed",
        3,
    ),
    FlowColumn(
        "bytes",
        "BYTES",
        10,
        True,
        lambda f, r: _optional(f.table.bytes, r),
        lambda f: _optional_order(f.table.bytes, f),
        "both ways; needs nf_conntrack_acct",
        3,
        UNKNOWN64,
    ),
    FlowColumn(
        "packets",
        "PACKETS",
        8,
        True,
        lambda f, r: _optional(f.table.packets, r),
        lambda f: _optional_order(f.table.packets, f),
        "both ways; needs nf_conntrack_acct",
        4,
        UNKNOWN64,
    ),
)
"""The table of flows, in the order shown."""
