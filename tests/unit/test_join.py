"""Whose each flow is, and the way it takes."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.join.flows import Flows
from natop.join.owners import Place, attribute
from natop.model import HOST_SOCKETS, Container, Descriptor, Kind, Process, Sockets
from tests.unit import diag, plain
from tests.unit.hosts import APP, CONTAINERS, DB, HOST_ADDRESSES, WEB, container
from tests.unit.oracle import judged
from tests.unit.plain import DST_NAT, ICMP, SRC_NAT, UDP, Flow, flow

Party = Container | str | None
FORMER = {"172.18.0.77": "old", "172.18.0.2": "former web", "203.0.113.10": "a guest"}
"""Who is gone, by the addresses that they had; another container and the host have two of them now."""
CASES = {
    "in by a published port": (
        flow("100.64.0.9:51234", "203.0.113.10:8080", dnat="172.18.0.2:80"),
        (None, WEB, Kind.PUBLISHED),
    ),
    "published, from another container": (
        flow("172.19.0.4:40000", "203.0.113.10:8080", dnat="172.18.0.2:80"),
        (DB, WEB, Kind.PUBLISHED),
    ),
    "published, from the host itself": (
        flow("203.0.113.10:40000", "203.0.113.10:8080", dnat="172.18.0.2:80"),
        (None, WEB, Kind.PUBLISHED),
    ),
    "a container calls its own published port": (
        flow("172.18.0.2:40000", "203.0.113.10:8080", dnat="172.18.0.2:80", snat="172.18.0.1:40000"),
        (WEB, WEB, Kind.HAIRPIN),
    ),
    "hairpin from a neighbour": (
        flow("172.18.0.3:40000", "203.0.113.10:8080", dnat="172.18.0.2:80", snat="172.18.0.1:40000"),
        (APP, WEB, Kind.HAIRPIN),
    ),
    "out by masquerade": (
        flow("172.18.0.3:40000", "198.51.100.7:443", snat="203.0.113.10:50000"),
        (APP, None, Kind.MASQUERADED),
    ),
    "out by masquerade, the port kept": (
        flow("172.18.0.3:40000", "198.51.100.7:443", snat="203.0.113.10:40000", proto=UDP),
        (APP, None, Kind.MASQUERADED),
    ),
    "masqueraded ping": (
        flow("172.18.0.3:77", "198.51.100.7:2048", snat="203.0.113.10:77", proto=ICMP),
        (APP, None, Kind.MASQUERADED),
    ),
    "out, DNAT to somewhere else and masquerade": (
        flow("172.18.0.3:40000", "203.0.113.10:53", dnat="198.51.100.53:53", snat="203.0.113.10:40000"),
        (APP, None, Kind.MASQUERADED),
    ),
    "between containers": (flow("172.18.0.3:40000", "172.18.0.2:80"), (APP, WEB, Kind.INTERNAL)),
    "between containers, on the second network": (
        flow("172.19.0.3:40000", "172.19.0.4:5432"),
        (APP, DB, Kind.INTERNAL),
    ),
    "between containers by IPv6": (flow("[fd00:18::2]:40000", "[fd00:18::2]:80"), (WEB, WEB, Kind.INTERNAL)),
    "out by IPv6 without NAT": (flow("[fd00:18::2]:40000", "[2001:db8::7]:443"), (WEB, None, Kind.ROUTED)),
    "in without NAT": (flow("100.64.0.9:51234", "172.19.0.4:5432"), (None, DB, Kind.ROUTED)),
    "the host calls a container": (flow("172.18.0.1:40000", "172.18.0.2:80"), (None, WEB, Kind.ROUTED)),
    "a container calls the host": (flow("172.18.0.2:40000", "172.18.0.1:53"), (WEB, None, Kind.ROUTED)),
    "the host's own, out": (flow("203.0.113.10:40000", "192.0.2.5:5432"), (None, None, Kind.HOST)),
    "the host's own, in": (flow("100.64.0.9:51234", "203.0.113.10:22"), (None, None, Kind.HOST)),
    "the host's own, link local": (flow("[fe80::1]:546", "[ff02::1:2]:547", proto=UDP), (None, None, Kind.HOST)),
    "the host's own, moved to another port": (
        flow("203.0.113.10:40000", "192.0.2.5:5432", snat="203.0.113.10:26252"),
        (None, None, Kind.REMAPPED),
    ),
    "the host's own, moved to another port, to itself": (
        flow("203.0.113.10:40000", "203.0.113.10:22", snat="203.0.113.10:26252", proto=UDP),
        (None, None, Kind.REMAPPED),
    ),
    "the host's own, under another address": (
        flow("172.18.0.1:40000", "192.0.2.5:5432", snat="203.0.113.10:40000"),
        (None, None, Kind.HOST),
    ),
    "the host's own, both ends changed": (
        flow("203.0.113.10:40000", "192.0.2.5:80", dnat="192.0.2.8:80", snat="203.0.113.10:26252"),
        (None, None, Kind.HOST),
    ),
    "from one that is gone": (
        flow("172.18.0.77:40000", "198.51.100.7:443", snat="203.0.113.10:50000"),
        ("gone: old", None, Kind.STALE),
    ),
    "published, to one that is gone": (
        flow("172.18.0.3:51234", "203.0.113.10:8080", dnat="172.18.0.77:80"),
        (APP, "gone: old", Kind.STALE),
    ),
    "called at the host, answered elsewhere": (
        flow("100.64.0.9:51234", "203.0.113.10:8443", dnat="192.0.2.8:443"),
        (None, None, Kind.HOST),
    ),
    "through the host": (flow("100.64.0.9:51234", "192.0.2.8:443"), (None, None, Kind.FORWARDED)),
    "through the host, masqueraded to an address it no longer has": (
        flow("10.99.0.1:1000", "192.0.2.8:443", snat="192.0.2.1:1000"),
        (None, None, Kind.FORWARDED),
    ),
}


def attributed(
    flows: list[Flow],
    containers: tuple[Container, ...] = CONTAINERS,
    host: tuple[str, ...] = HOST_ADDRESSES,
    former: Mapping[str, str] = {},
    sockets: Sockets | None = None,
) -> list[tuple[Party, Party, Kind]]:
    table = plain.table(flows)
    found = attribute(table, Place(containers, host, former, sockets={HOST_SOCKETS: sockets}.get))
    names = Flows(table, found, containers)

    def party(code: int) -> Party:
        return containers[code] if code >= 0 else names.other(code)

    columns = zip(found.client.tolist(), found.server.tolist(), found.kind.tolist(), strict=True)
    return [(party(client), party(server), Kind(kind)) for client, server, kind in columns]


@pytest.mark.parametrize("name", CASES)
def test_each_way(name: str) -> None:
    one, expected = CASES[name]
    assert attributed([one], former=FORMER) == [expected]


def test_every_kind_has_a_case() -> None:
    """What docker-proxy copies is told by its sockets."""
    cases = (*CASES.values(), *BESIDE_A_PROXY.values())
    assert {expected[2] for _, expected in cases} == set(Kind)


def test_all_at_once_keep_their_rows() -> None:
    told = attributed([one for one, _ in CASES.values()], former=FORMER)
    assert told == [expected for _, expected in CASES.values()]


COMMAND = "docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8080 -container-ip 172.18.0.2 -container-port 80"
PROXY = Process(500, "docker-proxy", tuple(COMMAND.split()))
BESIDE_A_PROXY = {
    "to docker-proxy": (flow("172.19.0.4:40000", "203.0.113.10:8080"), (DB, WEB, Kind.PROXIED)),
    "from docker-proxy": (
        flow("172.18.0.1:40000", "172.18.0.2:80"),
        ("host: docker-proxy[500]", WEB, Kind.PROXIED),
    ),
    "the host calls the container's published port": (
        flow("203.0.113.10:40000", "203.0.113.10:8080", dnat="172.18.0.2:80"),
        ("host", WEB, Kind.PUBLISHED),
    ),
    "the host calls another port of the container": (
        flow("172.18.0.1:40000", "172.18.0.2:81"),
        ("host", WEB, Kind.ROUTED),
    ),
    "the host calls a port of the container that is the same one elsewhere": (
        flow("203.0.113.10:40000", "203.0.113.10:80", dnat="172.18.0.2:81"),
        ("host", WEB, Kind.PUBLISHED),
    ),
    "the host calls that port by UDP": (
        flow("172.18.0.1:40000", "172.18.0.2:80", proto=UDP),
        ("host", WEB, Kind.ROUTED),
    ),
    "the host calls that port of another container": (
        flow("172.18.0.1:40000", "172.18.0.3:80"),
        ("host", APP, Kind.ROUTED),
    ),
}


@pytest.mark.parametrize("name", BESIDE_A_PROXY)
def test_each_way_beside_a_proxy_of_closed_connections(name: str) -> None:
    one, expected = BESIDE_A_PROXY[name]
    listener = Sockets(diag.answers([diag.listening("0.0.0.0:8080", inode=1)]), {}, {PROXY: (Descriptor(4, 1),)})
    accepted = flow("172.19.0.4:40001", "203.0.113.10:8080")
    assert attributed([accepted, one], (APP, DB, WEB), sockets=listener)[1] == expected
    if name == "from docker-proxy":
        expected = ("host", WEB, Kind.ROUTED)
        assert attributed([one], (APP, DB, WEB), sockets=listener) == [expected], "nobody has called the proxy"


def test_no_flows() -> None:
    assert attributed([]) == []


def test_without_containers_and_addresses_nothing_is_anybody_s() -> None:
    flows = [one for one, _ in CASES.values()]
    assert attributed(flows, (), ()) == [(None, None, Kind.FORWARDED)] * len(flows)
    assert {kind for _, _, kind in attributed(flows, ())} == {Kind.HOST, Kind.REMAPPED, Kind.FORWARDED}


def test_a_container_s_address_goes_before_the_host_s() -> None:
    one = flow("172.18.0.2:40000", "198.51.100.7:443")
    assert attributed([one], (WEB,), ("172.18.0.2",)) == [(WEB, None, Kind.ROUTED)]


def test_addresses_that_share_their_low_half_are_told_apart() -> None:
    """Every IPv6 network has its ::2."""
    many = tuple(container(f"c{number}", f"fd00:{number:x}::2") for number in range(1, 40))
    flows = [flow(f"[fd00:{number:x}::2]:1000", f"[fd00:{number + 1:x}::2]:80") for number in range(45)]
    expected = [
        (
            many[number - 1] if 1 <= number < 40 else None,
            many[number] if number + 1 < 40 else None,
            Kind.INTERNAL if 1 <= number < 39 else Kind.ROUTED if number in (0, 39) else Kind.FORWARDED,
        )
        for number in range(45)
    ]
    assert attributed(flows, many) == expected


def test_an_ipv4_address_is_not_the_ipv6_address_of_the_same_bits() -> None:
    numerically = container("six", "::ac12:2")
    one = flow("172.18.0.2:1", "172.18.0.9:2")
    assert attributed([one], (numerically,), ()) == [(None, None, Kind.FORWARDED)]


@pytest.mark.parametrize("address", ["fe80::7%eth0", "nonsense", "", "10.0.0.0/8"])
def test_what_is_no_plain_address_is_passed_over(address: str) -> None:
    one = flow("[fe80::7]:1", "[fe80::8]:2", proto=UDP)
    kind = Kind.HOST if address.startswith("fe80") else Kind.FORWARDED
    assert attributed([one], (container("odd", "nonsense"),), (address,)) == [(None, None, kind)]


# Against a plain loop

POOL_V4 = [f"{net}.{host}" for net in ("172.18.0", "172.19.0", "192.0.2") for host in (1, 2, 3)]
POOL_V6 = [f"{net}::{host}" for net in ("fd00:18", "fd00:19") for host in (1, 2, 3)]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Flow], tuple[Container, ...], tuple[str, ...]]:
    """Flows among few addresses, of which some are containers', some the host's and some nobody's."""
    pool = POOL_V4 + POOL_V6
    owned = draw(st.lists(st.sampled_from(pool), unique=True))
    cuts = sorted(draw(st.lists(st.integers(0, len(owned)), max_size=4)))
    shares = [owned[a:b] for a, b in zip([0, *cuts], [*cuts, len(owned)], strict=True)]
    containers = tuple(container(f"c{number}", *share) for number, share in enumerate(shares))
    host = tuple(draw(st.lists(st.sampled_from(pool), unique=True)))
    flows = []
    for number in range(draw(st.integers(0, 12))):
        ends = draw(st.sampled_from((POOL_V4, POOL_V6)))
        src, dst, answers, seen_as = (draw(st.sampled_from(ends)) for _ in range(4))
        bits = draw(st.sampled_from((0, SRC_NAT, DST_NAT, SRC_NAT | DST_NAT)))
        flows.append(
            Flow(orig=plain.Ends(src, dst, 1, 2), reply=plain.Ends(answers, seen_as, 2, 1), status=8 | bits, id=number)
        )
    return flows, containers, host


@given(worlds())
def test_it_equals_a_plain_loop(world: tuple[list[Flow], tuple[Container, ...], tuple[str, ...]]) -> None:
    flows, containers, host = world
    assert attributed(flows, containers, host) == [judged(one, containers, host) for one in flows]
