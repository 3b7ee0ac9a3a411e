"""The table of containers by project, network and destination: every number against plain loops over the flows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.columns import grouping
from natop.columns.containers import HOST_KEY, HOST_NAME, ContainerRow, container_rows
from natop.columns.grouping import Grouping, grouped_rows, in_scope
from natop.join.flows import Flows
from natop.model import Attachment, Container, Kind, Snapshot
from natop.summarise.summaries import Setting
from tests.unit.hosts import CONTAINERS, HOST_ADDRESSES, container, observed, sample
from tests.unit.oracle import STATES, judged
from tests.unit.plain import DST_NAT, GRE, ICMP, IGMP, SRC_NAT, TCP, UDP, Ends, Flow, flow

GROUPINGS = tuple(Grouping)
OF_GROUPS = (Grouping.PROJECT, Grouping.NETWORK, Grouping.DESTINATION)
PROTO_NAMES = {TCP: "tcp", UDP: "udp", ICMP: "icmp", GRE: "gre", IGMP: "2"}

FLOWS = [
    flow("100.64.0.9:51234", "203.0.113.10:8080", dnat="172.18.0.2:80", id=1, state=7),
    flow("172.18.0.3:40000", "198.51.100.7:443", snat="203.0.113.10:50000", id=2),
    flow("172.18.0.3:40001", "172.18.0.2:80", id=3, state=1),
    flow("172.19.0.3:40002", "172.19.0.4:5432", id=4, state=5),
    flow("172.18.0.2:40003", "203.0.113.10:8080", dnat="172.18.0.2:80", snat="172.18.0.1:40003", id=5),
    flow("[fd00:18::2]:40004", "[2001:db8::7]:443", id=6),
    flow("203.0.113.10:1024", "192.0.2.5:22", id=7),
    flow("10.99.0.1:1024", "192.0.2.5:22", id=8),
]
TAKEN = observed(sample(FLOWS, containers=CONTAINERS))
Numbers = tuple[str, int | None, int | None, int | None]


def numbers(rows: Sequence[ContainerRow]) -> list[Numbers]:
    """Name, flows, in and out."""
    return [(row.name, row.flows.counts.total if row.flows else None, row.inbound, row.outbound) for row in rows]


def test_each_grouping_follows_another() -> None:
    assert [each.following for each in GROUPINGS] == [*GROUPINGS[1:], GROUPINGS[0]]


def test_by_container_it_is_the_table_of_containers() -> None:
    assert grouped_rows(TAKEN, Grouping.CONTAINER) == container_rows(TAKEN)


def test_by_project() -> None:
    """A flow within a project counts once in it, one between two of them once in each."""
    assert numbers(grouped_rows(TAKEN, Grouping.PROJECT)) == [
        ("(no project)", 1, 1, 0),
        ("shop", 6, 3, 5),
        (HOST_NAME, 2, None, None),
    ]


def test_by_network() -> None:
    assert numbers(grouped_rows(TAKEN, Grouping.NETWORK)) == [
        ("back", 1, 1, 1),
        ("net0", 4, 3, 3),
        ("net1", 1, 0, 1),
        (HOST_NAME, 2, None, None),
    ]


def test_by_destination() -> None:
    rows = grouped_rows(TAKEN, Grouping.DESTINATION)
    assert [row.flows.counts.total for row in rows if row.flows] == [2, 2, 1, 1, 1, 1]
    assert sorted(numbers(rows)) == [
        ("172.18.0.2:80/tcp", 1, 0, 1),
        ("172.19.0.4:5432/tcp", 1, 0, 1),
        ("192.0.2.5:22/tcp", 2, 0, 2),
        ("198.51.100.7:443/tcp", 1, 0, 1),
        ("203.0.113.10:8080/tcp", 2, 0, 2),
        ("[2001:db8::7]:443/tcp", 1, 0, 1),
    ]


def test_what_a_ping_calls_is_one_destination() -> None:
    """Of ICMP the type and code are no part of who is called."""
    kinds = [Ends("172.18.0.3", "198.51.100.7", 7, kind << 8) for kind in (8, 13)]
    pings = [
        Flow(orig=each, reply=Ends("198.51.100.7", "172.18.0.3", 7), proto=ICMP, id=number)
        for number, each in enumerate(kinds)
    ]
    taken = observed(sample(pings, containers=CONTAINERS))
    assert numbers(grouped_rows(taken, Grouping.DESTINATION)) == [("198.51.100.7/icmp", 2, 0, 2)]


def test_the_same_port_of_another_protocol_is_another_destination() -> None:
    some = [flow("10.0.0.1:1", "10.0.0.2:53", proto=proto, id=proto) for proto in (TCP, UDP)]
    found = grouped_rows(observed(sample(some)), Grouping.DESTINATION)
    assert {row.name for row in found} == {"10.0.0.2:53/tcp", "10.0.0.2:53/udp"}


def test_only_the_busiest_destinations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "MOST_DESTINATIONS", 2)
    called = [9] * 3 + [7] * 5 + [1] * 2 + [3]
    some = [flow(f"10.0.0.1:{number}", f"10.0.0.2:{port}", id=number) for number, port in enumerate(called)]
    taken = observed(sample(some))
    rows = grouped_rows(taken, Grouping.DESTINATION)
    assert numbers(rows) == [("10.0.0.2:7/tcp", 5, 0, 5), ("10.0.0.2:9/tcp", 3, 0, 3)]
    assert scoped(taken, rows[0].key) == set(range(3, 8))
    assert scoped(taken, "destination:10.0.0.2:1/tcp") == set()


@pytest.mark.parametrize("by", GROUPINGS)
def test_where_flows_were_not_read_it_is_the_table_of_containers(by: Grouping) -> None:
    taken = observed(sample(None, containers=CONTAINERS))
    assert grouped_rows(taken, by) == container_rows(taken)


@pytest.mark.parametrize("by", GROUPINGS)
def test_without_an_inventory(by: Grouping) -> None:
    taken = observed(sample(FLOWS))
    rows = grouped_rows(taken, by)
    if by is Grouping.DESTINATION:
        assert sum(row.flows.counts.total for row in rows if row.flows) == len(FLOWS)
    else:
        assert numbers(rows) == [(HOST_NAME, len(FLOWS), None, None)]
    check_scopes(taken, by)


@pytest.mark.parametrize("by", GROUPINGS)
def test_an_empty_table(by: Grouping) -> None:
    taken = observed(sample([], containers=CONTAINERS))
    for row in grouped_rows(taken, by):
        assert row.flows is not None
        assert row.flows.counts.total == 0
    check_scopes(taken, by)


@pytest.mark.parametrize("key", ["project:none", "network:none", "destination:none", "none", "none:none", ":"])
def test_a_row_that_is_there_no_more_has_no_flows(key: str) -> None:
    assert scoped(TAKEN, key) == set()


def test_a_name_may_hold_what_parts_a_key() -> None:
    odd = container("odd", "10.0.0.1", project="a:b", networks=("n:m",))
    taken = observed(sample([flow("10.0.0.1:1", "192.0.2.1:1", id=4)], containers=[odd]))
    assert scoped(taken, "project:a:b") == scoped(taken, "network:n:m") == {4}


# Against plain loops


def scoped(taken: Snapshot, key: str) -> set[int]:
    """Ids of the flows of one row."""
    flows = Flows.of(taken)
    assert flows is not None
    return set(flows.table.id[in_scope(flows, key)].tolist())


def check_scopes(taken: Snapshot, by: Grouping) -> None:
    """Each row's flows, as a view of them would show, are as many as it says; none where they are in no table."""
    rows = grouped_rows(taken, by)
    passing = Setting([each.container for each in taken.containers], addresses=HOST_ADDRESSES).passing()
    assert len({row.key for row in rows}) == len(rows)
    for row in rows:
        found = len(scoped(taken, row.key))
        assert found == (row.flows.counts.total if row.flows else 0)
        assert (row.flows is None) == (found == 0 and row.container is not None and row.container.id not in passing)


def on(name: str, driver: str, address: str, **more: str) -> Container:
    """A container of a project of its own on a network of that driver."""
    return replace(container(name, project=f"of {name}"), networks=(Attachment(name, driver, address, **more),))


BESIDE = (
    on("lan", "macvlan", "192.168.7.9"),
    on("vlan", "ipvlan", "192.168.8.9", ipvlan_mode="l3"),
    on("routed", "ipvlan", "192.168.9.9", ipvlan_mode="l3s"),
    on("bridged", "bridge", "172.18.0.9"),
)


@pytest.mark.parametrize("by", [Grouping.PROJECT, Grouping.NETWORK])
def test_groups_that_this_table_cannot_have_flows_of_have_no_numbers(by: Grouping) -> None:
    rows = {row.name.removeprefix("of "): row for row in grouped_rows(observed(sample([], containers=BESIDE)), by)}
    counted = {name: (row.flows and row.flows.counts.total, row.inbound) for name, row in rows.items()}
    assert counted == {
        "lan": (None, None),
        "vlan": (None, None),
        "routed": (0, 0),
        "bridged": (0, 0),
        HOST_NAME: (0, None),
    }
    inside = observed(sample([], containers=BESIDE, addresses=("127.0.0.1", "172.18.0.9")))
    rows = {row.name.removeprefix("of "): row for row in grouped_rows(inside, by)}
    assert {name for name, row in rows.items() if row.flows} == {"bridged", HOST_NAME}, "another's namespace"


POOL_V4 = [f"{net}.{host}" for net in ("172.18.0", "172.19.0", "192.0.2") for host in (1, 2, 3)]
POOL_V6 = [f"{net}::{host}" for net in ("fd00:18", "fd00:19") for host in (1, 2)]
MIXED_V6 = ["::1", "::2", "fd00:18::ffff:ac12:1", "fd00:19::ffff:ac12:2"]
"""Made of the halves of other addresses: one's high with another's low one."""
NETWORKS = ("back", "front", "lan")


@st.composite
def maybe_one(draw: st.DrawFn, free: list[str]) -> str | None:
    """An address that is still free, or none."""
    wanted = draw(st.booleans())
    return free.pop() if free and wanted else None


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Flow], tuple[Container, ...]]:
    """Flows among few addresses; containers of few projects and networks, with both families on one of them."""
    free4, free6 = draw(st.permutations(POOL_V4)), draw(st.permutations(POOL_V6))
    containers = []
    for name in draw(st.lists(st.sampled_from("abcd"), unique=True)):
        places = tuple(
            Attachment(
                network,
                "bridge",
                ipv4=draw(maybe_one(free4)),
                ipv6=draw(maybe_one(free6)),
            )
            for network in sorted(draw(st.sets(st.sampled_from(NETWORKS), min_size=1)))
        )
        named = container(name, project=draw(st.sampled_from((None, "shop", "blog"))))
        containers.append(replace(named, networks=places))
    count = draw(st.integers(0, 14))
    return [draw(entries(number)) for number in range(count)], tuple(sorted(containers, key=lambda each: each.name))


@st.composite
def entries(draw: st.DrawFn, number: int) -> Flow:
    pool = draw(st.sampled_from((POOL_V4, POOL_V6 + MIXED_V6)))
    src, dst, answers, seen_as = (draw(st.sampled_from(pool)) for _ in range(4))
    proto = draw(st.sampled_from((TCP, TCP, UDP, ICMP, GRE, IGMP)))
    port = 0 if proto == IGMP else draw(st.sampled_from((80, 443)))
    return Flow(
        orig=Ends(src, dst, 0 if proto == IGMP else 1000 + number, port),
        reply=Ends(answers, seen_as, port, 0),
        proto=proto,
        state=draw(st.sampled_from((1, 3, 7))) if proto == TCP else None,
        status=8 | draw(st.sampled_from((0, SRC_NAT, DST_NAT, SRC_NAT | DST_NAT))),
        id=number,
    )


def ends_by(by: Grouping, one: Flow, containers: tuple[Container, ...]) -> tuple[str | None, str | None]:
    """The groups of a flow's client and server."""
    if by is Grouping.DESTINATION:
        address = f"[{one.orig.dst}]" if ":" in one.orig.dst else one.orig.dst
        has_port = one.proto in (TCP, UDP, GRE)
        called = f"{address}:{one.orig.dport}" if has_port else one.orig.dst
        return f"{called}/{PROTO_NAMES[one.proto]}", None
    if by is Grouping.NETWORK:
        networks = {a: p.network for c in containers for p in c.networks for a in (p.ipv4, p.ipv6) if a}
        return networks.get(one.orig.src), networks.get(one.reply.src)
    client, server, _ = judged(one, containers, HOST_ADDRESSES)
    return project(client) if client else None, project(server) if server else None


def project(described: Container) -> str:
    return described.project or "(no project)"


def groups_there_are(by: Grouping, flows: list[Flow], containers: tuple[Container, ...]) -> set[str]:
    if by is Grouping.DESTINATION:
        return {str(ends_by(by, one, containers)[0]) for one in flows}
    if by is Grouping.NETWORK:
        return {place.network for each in containers for place in each.networks if place.ipv4 or place.ipv6}
    return {project(each) for each in containers}


@pytest.mark.parametrize("by", OF_GROUPS)
@given(world=worlds())
def test_every_number_equals_a_plain_loop(by: Grouping, world: tuple[list[Flow], tuple[Container, ...]]) -> None:
    flows, containers = world
    taken = observed(sample(flows, containers=containers))
    rows = grouped_rows(taken, by)
    groups = rows if by is Grouping.DESTINATION else rows[:-1]
    assert by is Grouping.DESTINATION or rows[-1] == container_rows(taken)[-1]
    ends = {one.id: ends_by(by, one, containers) for one in flows}
    assert {row.name for row in groups} == groups_there_are(by, flows, containers)
    passing = Setting(containers, addresses=HOST_ADDRESSES).passing()
    some = [each for each in containers if each.id in passing]
    counted = groups_there_are(by, flows, tuple(some))
    for row in groups:
        assert (row.key, row.container) == (f"{by}:{row.name}", None)
        mine = [one for one in flows if row.name in ends[one.id]]
        if row.flows is None:
            assert not mine
            assert (row.inbound, row.outbound) == (None, None)
            assert row.name not in counted
            continue
        assert row.outbound == sum(client == row.name for client, _ in ends.values())
        assert row.inbound == sum(server == row.name for _, server in ends.values())
        counts = row.flows.counts
        told = Counter(judged(one, containers, HOST_ADDRESSES)[2].name for one in mine)
        assert counts.total == len(mine)
        assert counts.states == dict.fromkeys(STATES, 0) | Counter(STATES[one.state] for one in mine if one.state)
        assert counts.kinds == dict.fromkeys((kind.name for kind in Kind), 0) | told
        assert counts.protocols == Counter(PROTO_NAMES[one.proto] for one in mine)
        assert counts.dnat == sum(bool(one.status & DST_NAT) for one in mine)
        assert counts.snat == sum(bool(one.status & SRC_NAT) for one in mine)
        assert (row.flows.rates, row.trend) == (None, ())
        assert scoped(taken, row.key) == {one.id for one in mine}
    ordered = [row.flows.counts.total for row in groups if row.flows]
    names = [row.name for row in groups]
    assert by is not Grouping.DESTINATION or ordered == sorted(ordered, reverse=True)
    assert by is Grouping.DESTINATION or names == sorted(names)


@given(worlds())
def test_a_container_s_flows_are_as_many_as_it_says(world: tuple[list[Flow], tuple[Container, ...]]) -> None:
    flows, containers = world
    check_scopes(observed(sample(flows, containers=containers)), Grouping.CONTAINER)


def test_the_host_s_row_has_the_flows_of_no_container() -> None:
    assert scoped(TAKEN, HOST_KEY) == {7, 8}
