"""The columns of the tables: their values, how they sort, and how a flow reads as text."""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.columns.containers import CONTAINER_COLUMNS, ContainerRow, container_rows, published_text, sorted_rows
from natop.columns.flows import FLOW_COLUMNS, FlowColumn, sorted_flows
from natop.export import snapshots
from natop.join.flows import Flows, path_text, status_names
from natop.model import Attribution, PublishedPort, Sample, Snapshot
from natop.states import PARTS
from natop.uapi import TcpState
from tests.unit import netlink
from tests.unit.hosts import APP, CONTAINERS, EDGE, HOST_NETNS, WEB, container, observed, sample, tcp_text
from tests.unit.plain import ICMP, IGMP, SCTP, UDP, Ends, Flow, flow, table
from tests.unit.strategies import IPV4, IPV6, PORTS, flows

PING = Flow(orig=Ends("172.18.0.3", "198.51.100.7", 7, 2048), reply=Ends("198.51.100.7", "172.18.0.3", 7), proto=ICMP)
FLOWS = [
    flow("100.64.0.9:51234", "203.0.113.10:8080", dnat="172.18.0.2:80", state=7),
    flow("172.18.0.3:40000", "172.18.0.2:80", state=1, status=0x188),
    flow("172.18.0.3:40001", "172.18.0.2:80", state=5),
    flow("172.18.0.3:40002", "172.18.0.2:80", state=9),
    flow("172.18.0.3:40003", "172.18.0.2:80"),
    flow("203.0.113.10:1", "192.0.2.5:22"),
]
NUMBERED = [replace(each, id=number) for number, each in enumerate(FLOWS)]
FIRST = sample(NUMBERED[:3], containers=CONTAINERS)
TAKEN = observed(FIRST, sample(NUMBERED[1:], at=2, containers=CONTAINERS))


def row(name: str, taken: Snapshot = TAKEN) -> ContainerRow:
    return next(each for each in container_rows(taken) if each.name == name)


def values(name: str, taken: Snapshot = TAKEN) -> dict[str, object]:
    return {column.key: column.value(row(name, taken)) for column in CONTAINER_COLUMNS}


def names_by(rows: Sequence[ContainerRow], key: str, descending: bool) -> list[str]:
    column = next(column for column in CONTAINER_COLUMNS if column.key == key)
    return [each.name for each in sorted_rows(rows, column, descending)]


def flow_column(key: str) -> FlowColumn:
    return next(column for column in FLOW_COLUMNS if column.key == key)


def described(one: Flow) -> Flows:
    """A table of one flow."""
    found = Flows.of(observed(sample([one], containers=CONTAINERS)))
    assert found is not None
    return found


def cells(one: Flow) -> dict[str, str]:
    return {column.key: column.text(described(one), 0) for column in FLOW_COLUMNS}


def test_keys_are_unique_and_columns_told_of() -> None:
    for columns in (CONTAINER_COLUMNS, FLOW_COLUMNS):
        assert len({column.key for column in columns}) == len(columns)
        assert all(column.width >= len(column.title) - 1 and column.rank >= 0 and column.help for column in columns)


def test_every_tcp_state_but_none_is_in_one_part() -> None:
    parts = [name for part in PARTS for name in part]
    assert sorted(parts) == sorted({state.name for state in TcpState} - {"NONE"})


def test_a_container_s_row() -> None:
    assert values("web") == {
        "name": "web",
        "flows": 4,
        "established": 1,
        "syn": 2,
        "time_wait": 0,
        "trend": (1, 0),
        "closing": 1,
        "inbound": 4,
        "outbound": 0,
        "pool": None,
        "rewritten": 0,
        "kept_ports": None,
        "new": 1.0,
        "gone": 0.5,
        "mode": "shop_default",
        "project": "shop",
        "published": "8080→80",
        "own_table": None,
        **dict.fromkeys((*OF_TCP, "connect")),
        "state": "running",
        "image": "web:1",
    }


def test_how_full_a_container_s_fullest_pool_is() -> None:
    """Of 511 low ports one is held; of the many high ones two."""
    ports = (100, 40000, 40001)
    flows = [flow(f"172.18.0.3:{port}", "198.51.100.7:443", snat=f"203.0.113.10:{port + 1}", id=port) for port in ports]
    taken = observed(sample(flows, containers=CONTAINERS))
    assert values("app", taken)["pool"] == 100 / 511
    assert (values("app", taken)["rewritten"], values("app", taken)["kept_ports"]) == (3, 0.0)
    assert {values(name, taken)["pool"] for name in ("web", "db", "(host)")} == {None}
    title, app = (
        line for line in "".join(snapshots.as_text(taken, snapshots.View())).splitlines() if line[:3] in ("CON", "app")
    )
    assert app[: title.index("POOL%") + len("POOL%")].split()[-1] == "0.2"


OF_TCP = ("syn_retrans", "lost_syns", "listen_overflows", "retrans_segs", "attempt_fails", "tw_sockets")


def test_tcp_s_columns_are_of_the_owner_of_the_namespace() -> None:
    def at(seconds: float, lost: int) -> Sample:
        tcp = {HOST_NETNS: tcp_text(), "net:[1]": tcp_text(syn_retrans=lost, listen_overflows=2 * lost)}
        stats = netlink.stats_cpu(0, {"insert_failed": lost, "drop": lost}) + netlink.done()
        members = {WEB.id: "net:[1]", EDGE.id: HOST_NETNS}
        return sample(None, at=seconds, containers=CONTAINERS, tcp=tcp, members=members, stats=stats)

    taken = observed(at(0, 1), at(2, 7))
    web, edge, host = (values(name, taken) for name in ("web", "edge", "(host)"))
    assert [web[key] for key in OF_TCP] == [3.0, 3.0, 6.0, None, None, 2]
    assert [edge[key] for key in OF_TCP] == [None] * 6
    assert [host[key] for key in OF_TCP] == [0.0, 0.0, None, None, None, 2]
    assert row("edge", taken).tcp_of == "host"


def test_the_host_s_row_is_the_last() -> None:
    assert [each.name for each in container_rows(TAKEN)] == ["app", "db", "edge", "web", "(host)"]
    host = values("(host)")
    assert (host["flows"], host["established"], host["new"]) == (1, 1, 0.5)
    assert {host[key] for key in ("inbound", "outbound", "mode", "project", "published", "state", "image")} == {None}


def test_what_could_not_be_read_is_none_and_never_0() -> None:
    unread = values("web", observed(sample(None, containers=CONTAINERS)))
    known = {"name", "mode", "project", "published", "state", "image"}
    assert {key for key, value in unread.items() if value is not None} == known
    first = values("web", observed(FIRST))
    assert (first["new"], first["gone"], first["trend"]) == (None, None, (1,))


@pytest.mark.parametrize(
    ("key", "descending", "expected"),
    [
        ("flows", True, ["app", "web", "(host)", "db", "edge"]),
        ("flows", False, ["db", "edge", "(host)", "app", "web"]),
        ("name", False, ["(host)", "app", "db", "edge", "web"]),
        ("name", True, ["web", "edge", "db", "app", "(host)"]),
        ("inbound", True, ["web", "app", "db", "edge", "(host)"]),
        ("inbound", False, ["app", "db", "edge", "web", "(host)"]),
        ("mode", True, ["web", "edge", "app", "db", "(host)"]),
        ("project", False, ["app", "web", "(host)", "db", "edge"]),
        ("project", True, ["app", "web", "(host)", "db", "edge"]),
        ("trend", True, ["(host)", "app", "db", "edge", "web"]),
    ],
)
def test_sorted_rows(key: str, descending: bool, expected: list[str]) -> None:
    """What is unknown comes last either way, equal ones go by name."""
    assert names_by(container_rows(TAKEN), key, descending) == expected


def test_names_sort_without_regard_to_case() -> None:
    rows = [ContainerRow(name, name, None, None) for name in ("b", "C", "A")]
    assert names_by(rows, "name", False) == ["A", "b", "C"]


def test_published_ports_once_each() -> None:
    ports = (
        PublishedPort("tcp", "0.0.0.0", 8080, 80),
        PublishedPort("tcp", "::", 8080, 80),
        PublishedPort("udp", "0.0.0.0", 53, 5353),
    )
    assert published_text(container("x", published=ports)) == "8080→80 53→5353/udp"
    assert published_text(APP) == ""


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (
            flow("100.64.0.9:51234", "203.0.113.10:8080", dnat="172.18.0.2:80", state=7, timeout_s=1119),
            {
                "proto": "tcp",
                "state": "TIME_WAIT",
                "src": "100.64.0.9:51234",
                "dst": "203.0.113.10:8080",
                "answers": "172.18.0.2:80",
                "kind": "PUBLISHED",
                "timeout": "1,119",
                "client": "",
                "server": "web",
                "nat": "DNAT",
                "bytes": "",
                "packets": "",
            },
        ),
        (
            flow(
                "[fd00:18::2]:1", "[2001:db8::7]:443", timeout_s=None, state=None, status=0x418E, packets=0, bytes=2048
            ),
            {
                "state": "OFFLOAD",
                "src": "[fd00:18::2]:1",
                "dst": "[2001:db8::7]:443",
                "timeout": "",
                "client": "web",
                "server": "",
                "nat": "",
                "bytes": "2,048",
                "packets": "0",
            },
        ),
        (PING, {"proto": "icmp", "src": "172.18.0.3", "dst": "198.51.100.7", "state": "ASSURED"}),
        (
            Flow(orig=Ends("172.18.0.3", "224.0.0.22"), reply=Ends("224.0.0.22", "172.18.0.3"), proto=IGMP, status=8),
            {"proto": "2", "src": "172.18.0.3", "state": "UNREPLIED"},
        ),
        (flow("172.18.0.3:1", "192.0.2.1:53", proto=UDP, status=0xA), {"state": "SEEN_REPLY", "proto": "udp"}),
        (replace(FLOWS[0], proto=SCTP, state=3), {"state": "COOKIE_ECHOED", "proto": "sctp"}),
        (replace(FLOWS[0], state=77), {"state": "77"}),
        (
            flow("172.18.0.2:4", "203.0.113.10:8080", dnat="172.18.0.2:80", snat="172.18.0.1:4"),
            {"nat": "DNAT+SNAT", "kind": "HAIRPIN", "client": "web", "server": "web"},
        ),
    ],
)
def test_a_flow_s_cells(one: Flow, expected: dict[str, str]) -> None:
    found = cells(one)
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (flow("10.0.0.1:1", "10.0.0.2:2"), "10.0.0.1:1 → 10.0.0.2:2"),
        (
            flow("10.0.0.1:1", "10.0.0.2:2", dnat="10.0.0.3:3"),
            "10.0.0.1:1 → 10.0.0.2:2 ⇒ 10.0.0.3:3",
        ),
        (
            flow("10.0.0.1:1", "10.0.0.2:2", dnat="10.0.0.3:3", snat="10.0.0.4:4"),
            "10.0.0.1:1 ⇒ 10.0.0.4:4 → 10.0.0.2:2 ⇒ 10.0.0.3:3",
        ),
        (flow("[fd00::1]:1", "[fd00::2]:2"), "[fd00::1]:1 → [fd00::2]:2"),
        (PING, "172.18.0.3 → 198.51.100.7"),
    ],
)
def test_the_whole_way_in_one_line(one: Flow, expected: str) -> None:
    assert path_text(described(one), 0) == expected


def test_status_names_from_the_lowest_bit() -> None:
    assert status_names(0x19E) == ("SEEN_REPLY", "ASSURED", "CONFIRMED", "SRC_NAT", "SRC_NAT_DONE", "DST_NAT_DONE")
    assert status_names(0) == ()
    assert status_names(1 << 31 | 1 << 15) == ("HW_OFFLOAD",)


@given(st.lists(flows(), max_size=8))
def test_any_flow_has_all_cells_and_orders(some: list[Flow]) -> None:
    taken = Flows.of(observed(sample(some, containers=CONTAINERS)))
    assert taken is not None
    for column in FLOW_COLUMNS:
        assert len(column.order(taken)) == len(taken.table)
        assert all("\n" not in column.text(taken, each) for each in range(len(taken.table)))


@given(st.lists(st.tuples(IPV4, PORTS), min_size=1, max_size=20), st.lists(IPV6, max_size=4))
def test_addresses_sort_by_number_then_port_and_ipv6_last(ends: list[tuple[str, int]], others: list[str]) -> None:
    some = [flow(f"{address}:{port}", "10.0.0.1:1", id=number) for number, (address, port) in enumerate(ends)]
    some += [flow(f"[{address}]:1", "[::1]:2", id=99 + number) for number, address in enumerate(others)]
    taken = Flows.of(observed(sample(some)))
    assert taken is not None
    order = flow_column("src").order(taken).argsort(kind="stable")
    found = [(taken.table.orig_src.text(each), int(taken.table.orig_sport[each])) for each in order.tolist()]
    in_order = sorted(set(ends), key=lambda end: (ip_address(end[0]), end[1]))
    assert list(dict.fromkeys(found[: len(ends)])) == in_order
    assert {address for address, _ in found[len(ends) :]} == {str(ip_address(each)) for each in others}


def test_owners_sort_by_name_whoever_they_are_and_nobody_comes_last() -> None:
    some = [
        flow("172.18.0.2:1", "192.0.2.1:1"),
        flow("192.0.2.1:1", "192.0.2.2:1"),
        flow("172.18.0.3:1", "192.0.2.1:1"),
        flow("172.18.0.9:1", "192.0.2.1:1"),
    ]
    gone = container("gone-too", "172.18.0.9")
    numbered = [replace(each, id=n) for n, each in enumerate(some)]
    before = sample([], containers=(WEB, APP, gone))
    taken = Flows.of(observed(before, sample(numbered, at=2, containers=(WEB, APP))))
    assert taken is not None
    for descending, expected in (
        (False, ["app", "gone: gone-too", "web", None]),
        (True, ["web", "gone: gone-too", "app", None]),
    ):
        rows = sorted_flows(taken, np.arange(4), flow_column("client"), descending)
        assert [taken.client(each) for each in rows.tolist()] == expected


@pytest.mark.parametrize(
    ("key", "ascending", "descending"),
    [
        ("timeout", [3, 1, 0, 2], [1, 3, 0, 2]),
        ("bytes", [2, 0, 1, 3], [0, 2, 1, 3]),
        ("packets", [0, 2, 1, 3], [0, 2, 1, 3]),
        ("server", [0, 1, 2, 3], [0, 1, 2, 3]),
        ("proto", [0, 1, 2, 3], [0, 1, 2, 3]),
    ],
)
def test_flows_whose_value_is_unknown_come_last_and_equal_ones_as_they_were_read(
    key: str, ascending: list[int], descending: list[int]
) -> None:
    some = [
        flow("10.0.0.1:1", "192.0.2.1:1", id=1, timeout_s=None, packets=2, bytes=7),
        flow("10.0.0.2:1", "192.0.2.1:1", id=2, timeout_s=120),
        flow("10.0.0.3:1", "192.0.2.1:1", id=3, timeout_s=None, packets=2, bytes=0),
        flow("10.0.0.4:1", "192.0.2.1:1", id=4, timeout_s=0),
    ]
    nobody = np.full(4, -1, np.int32)
    taken = Flows(table(some), Attribution(nobody, nobody.copy(), np.zeros(4, np.uint8)), ())
    assert sorted_flows(taken, np.arange(4), flow_column(key), False).tolist() == ascending
    assert sorted_flows(taken, np.arange(4), flow_column(key), True).tolist() == descending
