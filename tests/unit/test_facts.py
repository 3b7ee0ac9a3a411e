"""What flows tell beside their numbers: piles of flows that are alike."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from natop.join.flows import Flows
from natop.model import Attribution, Closer, FlowFacts, Kind, Pile
from natop.summarise.facts import flow_facts
from tests.unit import plain
from tests.unit.hosts import APP, CONTAINERS, DB, WEB
from tests.unit.plain import UDP, Flow, flow

SYSCTLS = {"nf_conntrack_tcp_timeout_established": 432_000, "nf_conntrack_tcp_timeout_time_wait": 120}
INDEX = {each.name: number for number, each in enumerate(CONTAINERS)}
GONE = -2
FIRST, FEW, MANY = 1_024, 1_000, 28_232
"""Local ports: where ranges begin; how many a narrow one has, and the kernel's."""


def facts(
    *told: tuple[Flow, str | int, Kind],
    servers: Mapping[int, str] | None = None,
    ports: Mapping[str, int] = MappingProxyType({}),
) -> FlowFacts:
    """Of flows, whose they are (a container, or a code), and their kind; who serves them, by their place.

    `ports` are how many local ports containers have, where they are not MANY.
    """
    clients = [INDEX[owner] if isinstance(owner, str) else owner for _, owner, _ in told]
    kinds = [kind for _, _, kind in told]
    serving = np.array([INDEX[servers[n]] if servers and n in servers else -1 for n in range(len(told))], np.int32)
    attribution = Attribution(np.array(clients, np.int32), serving, np.array(kinds, np.uint8), ("gone: old",))
    ranges = [ports_from(ports.get(each.name, MANY)) for each in CONTAINERS]
    return flow_facts(Flows(plain.table([each for each, _, _ in told]), attribution, CONTAINERS), SYSCTLS, ranges)


def ports_from(size: int) -> tuple[int, int]:
    return FIRST, FIRST + size - 1


def out(port: int, **more: Any) -> Flow:
    return flow(f"172.18.0.3:{port}", "198.51.100.9:5432", snat=f"203.0.113.10:{port}", id=port, **more)


def test_nothing_comes_of_nothing() -> None:
    assert facts() == FlowFacts(0, 0, (), (), (), (), (), 0, (), (), ())


def test_zombies_are_established_and_idle_for_more_than_a_day() -> None:
    idle = [(out(1000 + n, timeout_s=300_000), "app", Kind.MASQUERADED) for n in range(3)]
    busy = (out(2000, timeout_s=431_990), "app", Kind.MASQUERADED)
    other = (out(2001, timeout_s=100, state=7), "app", Kind.MASQUERADED)
    found = facts(*idle, busy, other)
    assert found.zombies == 3
    assert found.zombies_of == (Pile("app", 3, ("app",), APP.id, calling="172.18.0.3"),)


@pytest.mark.parametrize(
    ("sysctls", "zombies"),
    [({}, 2), ({"nf_conntrack_tcp_timeout_unacknowledged": 10, "nf_conntrack_tcp_timeout_max_retrans": 20}, 3)],
)
def test_data_in_flight_is_no_zombie(sysctls: dict[str, int], zombies: int) -> None:
    """The kernel gives such a flow 300 s, however fresh; where it was not told how many, that is its default."""
    flows = plain.table([out(1000 + n, timeout_s=left) for n, left in enumerate((5, 300, 301, 345_599, 345_601))])
    nobody = np.full(5, -1, np.int32)
    attribution = Attribution(nobody, nobody, np.full(5, Kind.MASQUERADED, np.uint8))
    assert flow_facts(Flows(flows, attribution, ()), SYSCTLS | sysctls, ()).zombies == zombies


def unanswered(port: int, name: str = "app", timeout_s: int = 100) -> tuple[Flow, str, Kind]:
    """A SYN sent 20 s ago, or as the timeout left says."""
    return out(port, state=1, status=0x8, timeout_s=timeout_s), name, Kind.MASQUERADED


def test_unreplied_syns_by_what_is_called() -> None:
    silent = [unanswered(1000 + n) for n in range(3)]
    answered = (out(2000, state=1), "app", Kind.MASQUERADED)
    other = (flow("172.19.0.4:9", "198.51.100.8:80", id=9, state=1, status=0x8, timeout_s=9), "db", Kind.ROUTED)
    assert facts(*silent, answered, other).unreplied == (
        Pile("198.51.100.9:5432/tcp", 3, ("app",), APP.id),
        Pile("198.51.100.8:80/tcp", 1, ("db",), DB.id),
    )


@pytest.mark.parametrize(("sysctls", "waiting"), [({}, 2), ({"nf_conntrack_tcp_timeout_syn_sent": 60}, 1)])
def test_syns_on_their_way_are_not_unanswered(sysctls: dict[str, int], waiting: int) -> None:
    """The kernel gives a SYN 120 s, where it was not told how many, and tells whole seconds."""
    flows = plain.table([unanswered(1000 + left, timeout_s=left)[0] for left in (57, 117, 118, 119, 120)])
    nobody = np.full(5, -1, np.int32)
    attribution = Attribution(nobody, nobody, np.full(5, Kind.MASQUERADED, np.uint8))
    (pile,) = flow_facts(Flows(flows, attribution, ()), sysctls, ()).unreplied
    assert pile.count == waiting


def test_an_end_that_answers_most_is_not_silent() -> None:
    """Also where what it answered is closed again, unless that was some time ago."""
    silent = [unanswered(1000 + n) for n in range(60)]

    def closed(left: int, number: int) -> list[tuple[Flow, str, Kind]]:
        return [(out(2000 + n, state=7, timeout_s=left), "app", Kind.MASQUERADED) for n in range(number)]

    assert facts(*silent, *closed(115, 61)).unreplied == ()
    assert [pile.count for pile in facts(*silent, *closed(115, 60)).unreplied] == [60]
    assert [pile.count for pile in facts(*silent, *closed(100, 600)).unreplied] == [60]
    others = [
        (flow(f"172.18.0.3:{n}", end, id=n), "app", Kind.ROUTED)
        for n, end in enumerate(["198.51.100.9:443", "198.51.100.8:5432"] * 60, 3000)
    ]
    assert [pile.count for pile in facts(*silent, *others).unreplied] == [60]


def test_a_pile_names_all_who_call() -> None:
    silent = [unanswered(1000 + n, name) for n, name in enumerate(INDEX)]
    (pile,) = facts(*silent, unanswered(1999, "web")).unreplied
    assert pile.owners[0] == "web"
    assert sorted(pile.owners) == sorted(INDEX)
    assert len(INDEX) > 3


def test_proxied_hairpin_and_remapped() -> None:
    found = facts(
        (flow("172.18.0.2:1", "203.0.113.10:8080", id=2), "web", Kind.PROXIED),
        (flow("172.17.0.1:2", "172.18.0.2:80", id=3), -1, Kind.PROXIED),
        (flow("172.18.0.2:3", "203.0.113.10:8080", id=4), "web", Kind.HAIRPIN),
        (flow("203.0.113.10:4", "198.51.100.7:443", id=5), -1, Kind.REMAPPED),
    )
    assert found.proxied == (Pile("203.0.113.10:8080/tcp", 1, ("web",), WEB.id),)
    assert found.hairpin == (Pile("203.0.113.10:8080/tcp", 1, ("web",), WEB.id),)
    assert found.remapped == 1


def test_what_docker_proxy_dials_is_no_second_connection() -> None:
    found = facts(
        (flow("172.18.0.2:1", "203.0.113.10:8080", id=2), "web", Kind.PROXIED),
        (flow("172.17.0.1:2", "172.18.0.3:80", id=3), "web", Kind.PROXIED),
        servers={0: "app", 1: "app"},
    )
    assert found.proxied == (Pile("203.0.113.10:8080/tcp", 1, ("web",), WEB.id, servers=("app",)),)


def test_the_host_s_own_calls_are_no_container_s_hairpin() -> None:
    assert facts((flow("203.0.113.10:3", "203.0.113.10:8080", id=4), -1, Kind.HAIRPIN)).hairpin == ()


def test_stale_is_what_leads_to_a_container_that_is_gone() -> None:
    """What such a container had opened itself waits for its end, and leads nobody astray."""
    into = [flow(f"100.64.0.1:{n}", "203.0.113.10:514", dnat="172.18.0.77:514", id=n, proto=UDP) for n in (5, 6)]
    elsewhere = flow("100.64.0.1:7", "203.0.113.10:514", dnat="172.18.0.78:514", id=7, proto=UDP)
    ping = flow("100.64.0.1:8", "172.18.0.77:0", id=8, proto=1)
    out_ = flow("172.18.0.77:9", "198.51.100.7:443", id=9)
    table = plain.table([*into, elsewhere, ping, out_])
    client, server = np.array([-1, -1, -1, -1, GONE], np.int32), np.array([GONE] * 4 + [-1], np.int32)
    attribution = Attribution(client, server, np.full(5, Kind.STALE, np.uint8), ("gone: old",))
    first, *others = flow_facts(
        Flows(table, attribution, CONTAINERS), SYSCTLS, [ports_from(MANY)] * len(CONTAINERS)
    ).stale
    assert first == Pile("203.0.113.10:514/udp", 2, ("gone: old",), None, "172.18.0.77")
    assert {pile.what: pile for pile in others} == {
        "203.0.113.10:514/udp": Pile("203.0.113.10:514/udp", 1, ("gone: old",), None, "172.18.0.78"),
        "172.18.0.77/icmp": Pile("172.18.0.77/icmp", 1, ("gone: old",), None, "172.18.0.77"),
    }


def test_owners_are_told_most_flows_first() -> None:
    told = [unanswered(n, "db" if n % 3 else "app") for n in range(1000, 1300)]
    assert facts(*told).unreplied == (Pile("198.51.100.9:5432/tcp", 300, ("db", "app"), DB.id),)


def test_udp_from_one_port_of_several_containers() -> None:
    def asks(source: str, number: int) -> Flow:
        return flow(source, "198.51.100.53:53", snat=f"203.0.113.10:{number}", id=number, proto=UDP)

    found = facts(
        (asks("172.18.0.3:5300", 1), "app", Kind.MASQUERADED),
        (asks("172.18.0.2:5300", 2), "web", Kind.MASQUERADED),
        (asks("172.19.0.4:5301", 3), "db", Kind.MASQUERADED),
    )
    [pile] = found.udp_shared
    assert (pile.what, pile.count, set(pile.owners)) == ("198.51.100.53:53/udp", 2, {"app", "web"})


def test_local_ports_are_those_that_sockets_still_hold() -> None:
    """TIME_WAIT counts for a minute, and only where the container closed first."""
    open_ = [(out(1024 + n, timeout_s=432_000), "app", Kind.MASQUERADED) for n in range(500)]
    ports = iter(range(1_700, 2_000))
    young = [(out(next(ports), state=7, timeout_s=100), "app", Kind.MASQUERADED) for _ in range(10)]
    old = [(out(next(ports), state=7, timeout_s=30), "app", Kind.MASQUERADED) for _ in range(20)]
    [pile] = facts(*open_, *young, *old, ports={"app": FEW}).local_ports
    assert pile == Pile("198.51.100.9:5432/tcp", 510, ("app",), APP.id)


def test_local_ports_are_told_from_half_of_the_container_s_own_range_on() -> None:
    told = [(out(1024 + n, timeout_s=432_000), "app", Kind.MASQUERADED) for n in range(600)]
    assert facts(*told).local_ports == ()
    assert facts(*told, ports={"app": 1_201}).local_ports == ()
    assert [pile.count for pile in facts(*told, ports={"app": 1_200}).local_ports] == [600]


def test_local_ports_beside_the_range_take_none_of_it() -> None:
    """A narrow range, and sockets of ports below and above it."""
    ends = [(out(FIRST + n, timeout_s=432_000), "app", Kind.MASQUERADED) for n in range(-10, 120)]
    [pile] = facts(*ends, ports={"app": 100}).local_ports
    assert pile.count == 100


def test_the_container_that_has_the_least_of_its_range_left_is_told_first() -> None:
    """Six others hold more ports of wider ranges; as many piles as are kept."""
    ends = [f"198.51.100.{n}:443" for n in range(1, 7)]
    wide = [
        (flow(f"172.18.0.2:{1024 + n}", end, id=100_000 * number + n, timeout_s=432_000), "web", Kind.ROUTED)
        for number, end in enumerate(ends, 1)
        for n in range(200)
    ]
    narrow = [(out(1024 + n, timeout_s=432_000), "app", Kind.MASQUERADED) for n in range(90)]
    first = facts(*wide, *narrow, ports={"web": 2_000, "app": 100}).local_ports[0]
    assert (first.what, first.count) == ("198.51.100.9:5432/tcp", 90)


def test_local_ports_of_what_the_server_closed_are_free() -> None:
    told = [out(1024 + n, state=7, timeout_s=119) for n in range(FEW)]
    closers = np.array([Closer.SERVER, Closer.CLIENT] * (FEW // 2), np.uint8)
    table = replace(plain.table(told), closed_by=closers)
    app = np.full(len(told), INDEX["app"], np.int32)
    kinds = np.full(len(told), Kind.MASQUERADED, np.uint8)
    attribution = Attribution(app, np.full(len(told), -1, np.int32), kinds, ())
    [pile] = flow_facts(Flows(table, attribution, CONTAINERS), SYSCTLS, [ports_from(FEW)] * len(CONTAINERS)).local_ports
    assert pile.count == FEW // 2


def test_zombies_are_those_too_whose_client_is_gone() -> None:
    gone = [(out(1000 + n, timeout_s=431_000), GONE, Kind.STALE) for n in range(3)]
    closed = (out(2000, timeout_s=100, state=7), GONE, Kind.STALE)
    idle = (out(2001, timeout_s=300_000), "app", Kind.MASQUERADED)
    found = facts(*gone, closed, idle)
    assert (found.zombies, found.zombies_gone) == (4, 3)
    assert found.zombies_of[0] == Pile("gone: old", 3, ("gone: old",), None, calling="172.18.0.3")
    elsewhere = flow("172.19.0.3:1003", "198.51.100.9:5432", id=1003, timeout_s=431_000)
    both = facts(*gone, (elsewhere, GONE, Kind.STALE)).zombies_of[0]
    assert (both.count, both.calling) == (4, None), "no one address is that of all"


def test_questions_to_port_53_that_nat_changes() -> None:
    def asks(number: int, port: int = 53, proto: int = UDP, snat: bool = True) -> Flow:
        nat = f"203.0.113.10:{number}" if snat else None
        return flow(f"172.18.0.3:{number}", f"198.51.100.53:{port}", snat=nat, id=number, proto=proto)

    found = facts(
        (asks(1), "app", Kind.MASQUERADED),
        (asks(2), "app", Kind.MASQUERADED),
        (asks(3, port=5353), "app", Kind.MASQUERADED),
        (asks(4, snat=False), "app", Kind.ROUTED),
        (asks(5, proto=6), "app", Kind.MASQUERADED),
        (asks(6), -1, Kind.MASQUERADED),
    )
    assert found.dns == (Pile("198.51.100.53:53/udp", 2, ("app",), APP.id),)
