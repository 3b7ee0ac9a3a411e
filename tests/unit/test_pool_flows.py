"""From a NAT pool to its flows and back, against plain loops."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.columns.filters import parse
from natop.model import Firewall, FlowReading, NatPools, Skipped, Snapshot
from natop.summarise.pools import filter_of, held_by, nat_pools, pool_name
from tests.unit import plain, plainpools, scenarios
from tests.unit.plain import ICMP, SRC_NAT, UDP, Ends, Flow, flow
from tests.unit.test_pools import FIREWALLS, HOST, REMOTE, entries, out, owners, pooled


def holding(flows: Sequence[Flow]) -> Snapshot:
    """A snapshot of these flows and no more."""
    reading = FlowReading(plain.table(flows), owners([0] * len(flows)), 0.0, 0.0, Skipped())
    return replace(scenarios.snapshot({}), reading=reading)


def in_pool(one: Flow, found: NatPools, row: int) -> bool:
    """Whether a flow holds a port of the pool in that row."""
    ports = plainpools.port_of(one)
    if ports is None or not int(found.first_port[row]) <= ports[0] <= int(found.last_port[row]):
        return False
    return (one.proto, one.zone, one.reply.dst, one.reply.src, ports[1]) == (
        *(int(found.proto[row]), int(found.zone[row]), found.nat.text(row), found.remote.text(row)),
        int(found.remote_port[row]),
    )


@given(st.lists(entries(), max_size=30), st.sampled_from(FIREWALLS))
def test_the_filter_of_a_pool_selects_its_flows_and_no_others(flows: list[Flow], firewall: Firewall | None) -> None:
    taken = holding(flows)
    found = nat_pools(plain.table(flows), owners([0] * len(flows)), True, firewall)
    for row in range(len(found)):
        expected = [in_pool(one, found, row) for one in flows]
        assert parse(filter_of(found, row)).flows(taken).tolist() == expected
        assert sum(expected) >= int(found.used[row])


@given(st.lists(entries(), max_size=30), st.sampled_from(FIREWALLS), st.data())
def test_the_pools_that_some_flows_hold_ports_of(
    flows: list[Flow], firewall: Firewall | None, data: st.DataObject
) -> None:
    wanted = data.draw(st.lists(st.booleans(), min_size=len(flows), max_size=len(flows)))
    table = plain.table(flows)
    found = nat_pools(table, owners([0] * len(flows)), True, firewall)
    expected = [
        any(wants and in_pool(one, found, row) for one, wants in zip(flows, wanted, strict=True))
        for row in range(len(found))
    ]
    assert held_by(found, table, np.array(wanted, np.bool_)).tolist() == expected


PING = Flow(orig=Ends("172.18.0.3", REMOTE, 7, 8 << 8), reply=Ends(REMOTE, HOST, 7), proto=ICMP, status=8 | SRC_NAT)


@pytest.mark.parametrize(
    ("one", "name", "expression"),
    [
        (
            out(40000),
            "203.0.113.10 → 198.51.100.7:443/tcp",
            "proto:tcp rsrc:198.51.100.7 rsport:443 rdst:203.0.113.10 rdport:1024-65535 zone:0",
        ),
        (
            replace(
                flow("[fd00::3]:5353", "[2001:db8::7]:53", snat="[2001:db8::1]:600", zone=5), proto=UDP, state=None
            ),
            "2001:db8::1 → [2001:db8::7]:53/udp",
            "proto:udp rsrc:2001:db8::7 rsport:53 rdst:2001:db8::1 rdport:600-1023 zone:5",
        ),
        (
            PING,
            "203.0.113.10 → 198.51.100.7/icmp",
            "proto:icmp rsrc:198.51.100.7 rdport:0 rdst:203.0.113.10 rsport:0-65535 zone:0",
        ),
    ],
)
def test_names_and_expressions(one: Flow, name: str, expression: str) -> None:
    found = pooled([one])
    assert (pool_name(found, 0), filter_of(found, 0)) == (name, expression)
