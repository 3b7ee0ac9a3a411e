"""NAT pools: what fills them, whose the ports are, and what rules about ports make of them."""

from collections.abc import Sequence
from dataclasses import replace
from math import nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.model import Addresses, Attribution, Firewall, Kind, NatPools, NatRule, NetworkNat, kernel_version
from natop.summarise.alike import hashed
from natop.summarise.pools import (
    Arrivals,
    busiest_pools,
    evicts,
    nat_pools,
    port_choice,
    rewritten,
    sustainable_per_s,
)
from tests.unit import plain, plainpools
from tests.unit.plain import GRE, ICMP, ICMPV6, SCTP, SRC_NAT, TCP, UDP, Ends, Flow, flow
from tests.unit.plainpools import Span, Told

HOST, REMOTE = "203.0.113.10", "198.51.100.7"
SYSCTLS = {"nf_conntrack_tcp_timeout_time_wait": 120, "nf_conntrack_udp_timeout": 30}


def owners(codes: Sequence[int], kinds: Sequence[Kind] | None = None) -> Attribution:
    rows = len(codes)
    kind = np.full(rows, Kind.MASQUERADED, np.uint8) if kinds is None else np.array(kinds, np.uint8)
    return Attribution(np.array(codes, np.int32), np.full(rows, -1, np.int32), kind, ("host: curl[7]",))


def pooled(flows: Sequence[Flow], evicting: bool = True, firewall: Firewall | None = None) -> NatPools:
    return nat_pools(plain.table(flows), owners([0] * len(flows)), evicting, firewall)


def out(port: int, *, source: int | None = None, client: str = "172.18.0.3", remote: str = f"{REMOTE}:443") -> Flow:
    """A masqueraded flow that took this port; from the same, unless a source is given."""
    return flow(f"{client}:{source or port}", remote, snat=f"{HOST}:{port}")


def closing(port: int, state: int, **more: int) -> Flow:
    return replace(out(port), state=state, **more)  # type: ignore[arg-type]  # numbers of Flow's own names


def own(port: int, remote: str = f"{REMOTE}:443") -> Flow:
    """A flow of the host's own."""
    return flow(f"{HOST}:{port}", remote)


def only(flows: Sequence[Flow], evicting: bool = True) -> Told:
    (told,) = plainpools.rows(pooled(flows, evicting)).values()
    return told


def test_the_host_s_own_flows_fill_a_pool_that_nat_takes_ports_from() -> None:
    told = only([out(40000), own(40001), own(40002)])
    assert (told.used, told.masqueraded, told.rewritten) == (3, 1, 0)


def test_what_nat_takes_no_port_from_is_no_pool() -> None:
    published = flow("100.64.0.9:51234", f"{HOST}:8080", dnat="172.18.0.2:80")
    assert len(pooled([own(40000), published, flow("172.18.0.2:1", "172.18.0.3:80")])) == 0
    assert len(pooled([])) == 0


@pytest.mark.parametrize(
    "other",
    [
        out(40001, remote=f"{REMOTE}:80"),
        out(40001, remote="198.51.100.8:443"),
        replace(out(40001), proto=UDP, state=None),
        replace(out(40001), zone=1),
        flow("172.18.0.3:40001", f"{REMOTE}:443", snat="203.0.113.11:40001"),
        flow("172.18.0.3:80", f"{REMOTE}:443", snat=f"{HOST}:80"),
    ],
)
def test_pools_that_are_not_mixed_up(other: Flow) -> None:
    told = plainpools.rows(pooled([out(40000), out(40002), other]))
    assert sorted(each.used for each in told.values()) == [1, 2]


def test_an_ipv4_address_is_not_its_mapped_fellow() -> None:
    """Both have the same 128 bits in natop's columns."""
    mapped = Flow(
        orig=Ends("::ffff:172.18.0.3", f"::ffff:{REMOTE}", 40000, 443),
        reply=Ends(f"::ffff:{REMOTE}", f"::ffff:{HOST}", 443, 40000),
        status=plain.ASSURED | SRC_NAT,
        state=3,
    )
    assert pooled([out(40000), mapped]).used.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("port", "span"), [(1, (1, 511)), (511, (1, 511)), (600, (600, 1023)), (1023, (600, 1023)), (1024, (1024, 65535))]
)
def test_the_class_of_a_port_is_its_capacity(port: int, span: Span) -> None:
    found = pooled([out(port)])
    assert (int(found.first_port[0]), int(found.last_port[0])) == span
    assert found.capacity.tolist() == [span[1] - span[0] + 1]


@pytest.mark.parametrize("port", [0, 512, 599])
def test_a_port_that_nat_does_not_pick_is_in_no_pool(port: int) -> None:
    assert len(pooled([out(port)])) == 0


def test_icmp_has_ids_and_gre_has_nothing_to_give() -> None:
    ping = Flow(
        orig=Ends("172.18.0.3", REMOTE, 7, 8 << 8),
        reply=Ends(REMOTE, HOST, 9, 0),
        proto=ICMP,
        status=plain.ASSURED | SRC_NAT,
    )
    found = pooled([ping, replace(ping, proto=GRE), replace(ping, proto=50)])
    assert (found.used.tolist(), found.capacity.tolist(), found.rewritten.tolist()) == ([1], [65536], [1])


def test_soft_is_what_this_kernel_evicts() -> None:
    flows = [
        *(closing(40000 + state, state) for state in range(10)),
        closing(40020, 7, status=plain.ASSURED | SRC_NAT | 0x4000),
        replace(own(40021), state=7),
    ]
    told = only(flows)
    assert (told.used, told.soft, told.time_wait) == (12, 3, 3)
    assert only(flows, evicting=False).soft == 0
    assert only([replace(each, proto=SCTP) for each in flows]).soft == 0


def test_a_pool_drains_when_its_last_closing_entry_goes() -> None:
    flows = [closing(40000, 7, timeout_s=30), closing(40001, 8, timeout_s=90), closing(40002, 3, timeout_s=400_000)]
    assert (only(flows).draining, only(flows).drain_s) == (2, 90)
    assert (only(flows[2:]).draining, only(flows[2:]).drain_s) == (0, 0)
    udp = [replace(each, proto=UDP) for each in flows]
    assert (only(udp).draining, only(udp).drain_s) == (3, 400_000)
    assert only([replace(each, proto=SCTP) for each in flows]).draining == 0


def test_a_port_that_a_changing_table_shows_twice_counts_once() -> None:
    told = only([closing(40000, 7, id=1), closing(40000, 3, id=2), closing(40001, 3, id=3)])
    assert (told.used, told.time_wait) == (2, 1)


def test_the_fullest_pool_comes_first() -> None:
    """By use of what there is: three of 511 are more than nine of 64,512."""
    flows = [*(out(40000 + n) for n in range(9)), *(out(100 + n) for n in range(3))]
    assert pooled(flows).used.tolist() == [3, 9]


def test_new_per_second_counts_those_that_came() -> None:
    flows = [out(40000), out(40001), out(40002), out(1)]
    new = np.array([True, False, True, False])
    found = nat_pools(plain.table(flows), owners([0] * 4), True, None, Arrivals(new, 4.0))
    assert found.new_per_s is not None
    assert dict(zip(found.used.tolist(), found.new_per_s.tolist(), strict=True)) == {3: 0.5, 1: 0.0}
    assert pooled(flows).new_per_s is None


def test_who_holds_the_ports_and_the_fullest_pool_of_each() -> None:
    flows = [*(out(40000 + n) for n in range(6)), *(out(40000 + n, remote="198.51.100.8:443") for n in range(2))]
    found = nat_pools(plain.table(flows), owners([1, 0, 0, 0, -2, -2, 1, 1]), True)
    assert [each.holders for each in plainpools.rows(found).values()] == [((0, 3), (-2, 2), (1, 1)), ((1, 2),)]
    assert busiest_pools(found, 3) == [0, 0, None]


def test_kept_and_rewritten_ports() -> None:
    flows = [
        out(40000),
        out(40001),
        out(40002, source=40000),
        own(40003),
        flow("10.0.0.1:1", "10.0.0.2:2", dnat="10.0.0.3:2"),
    ]
    remapped = flow(f"{HOST}:50000", f"{REMOTE}:443", snat=f"{HOST}:26252")
    kinds = [*[Kind.MASQUERADED] * 3, Kind.HOST, Kind.PUBLISHED, Kind.REMAPPED]
    table = plain.table([*flows, remapped])
    choice = port_choice(table, owners([0] * 6, kinds))
    assert (choice.kept, choice.rewritten) == (2, 1)
    assert choice.kept_share == pytest.approx(2 / 3)
    assert rewritten(table).tolist() == [False, False, True, False, False, True]
    nothing = port_choice(plain.table([]), owners([]))
    assert (nothing.kept, nothing.rewritten, nothing.kept_share) == (0, 0, None)


def test_a_pool_tells_by_itself_whether_its_ports_are_random() -> None:
    """One network's rule says random, the other's does not: together they would look like neither."""
    usual = [out(40000 + n, remote="198.51.100.8:443") for n in range(4)]
    random = [out(50000 + 7 * n, source=40000 + n) for n in range(4)]
    remapped = flow(f"{HOST}:40001", f"{REMOTE}:443", snat=f"{HOST}:26252")
    flows = [*usual, *random, own(40009), remapped]
    kinds = [*[Kind.MASQUERADED] * 8, Kind.HOST, Kind.REMAPPED]
    found = nat_pools(plain.table(flows), owners([0] * 10, kinds), True)
    choices = [found.choice(row) for row in range(2)]
    assert [(each.kept, each.rewritten, each.kept_share) for each in choices] == [(0, 4, 0.0), (4, 0, 1.0)]
    assert found.rewritten.tolist() == [5, 0], "the host's own that had to give way is none of a rule's"
    assert port_choice(plain.table(flows), owners([0] * 10, kinds)).kept_share == 0.5


def test_what_a_pool_can_sustain() -> None:
    found = pooled(
        [out(40000), out(40001), *(replace(out(n), proto=UDP) for n in (1, 2)), replace(out(40000), proto=SCTP)]
    )
    expected = {(TCP, 64512): 64510 / 120, (UDP, 511): 511 / 30, (SCTP, 64512): pytest.approx(nan, nan_ok=True)}
    told = zip(found.proto.tolist(), found.capacity.tolist(), strict=True)
    assert dict(zip(told, sustainable_per_s(found, SYSCTLS), strict=True)) == expected
    assert np.isnan(sustainable_per_s(found, {})).all()


@pytest.mark.parametrize("evicting", [True, False])
def test_ports_that_stay_sustain_nothing(evicting: bool) -> None:
    """Of 511 ports, 391 are connected, and what is closed comes back whether the kernel evicts it or not."""
    held = [out(n) for n in range(1, 392)]
    waiting = [replace(out(n), state=7) for n in range(392, 452)]
    assert sustainable_per_s(pooled([*held, *waiting], evicting), SYSCTLS).tolist() == [120 / 120]
    full = [out(n) for n in range(1, 512)]
    assert sustainable_per_s(pooled(full, evicting), SYSCTLS).tolist() == [0]


@pytest.mark.parametrize(
    ("release", "version", "evicting"),
    [
        *[("6.18.44-fc-v769", (6, 18), True), ("6.5.0", (6, 5), True), ("6.4.16-amd64", (6, 4), False)],
        *[("5.15.0", (5, 15), False), ("10.0", (10, 0), True), ("", None, False), (None, None, False)],
        ("linux", None, False),
        *[("4.18.0-513.5.1.el8_9.x86_64", (4, 18), False), ("6.1+", (6, 1), False), ("٣.٣", None, False)],
    ],
)
def test_kernels_that_evict(release: str | None, version: tuple[int, int] | None, evicting: bool) -> None:
    assert kernel_version(release) == version
    assert evicts(release) is evicting


# Rules with a range of ports


def rule(
    *sources: str, ports: Span | None = (40000, 40999), priority: int = 100, to_address: str | None = None
) -> NatRule:
    return NatRule("iptables-nft", "nat POSTROUTING", priority, "MASQUERADE", sources, to_address, ports)


def spans(found: NatPools) -> dict[Span, int]:
    """Ports used by range."""
    ranges = zip(found.first_port.tolist(), found.last_port.tolist(), strict=True)
    return dict(zip(ranges, found.used.tolist(), strict=True))


IN_RANGE = [out(40000), out(40001, client="172.18.0.4"), own(40002), own(33000)]
ELSEWHERE = out(50000, client="172.19.0.2")
RANGE, ALL = (40000, 40999), (1024, 65535)


def test_a_rule_s_range_is_a_pool_of_its_own() -> None:
    """What the host holds within it counts; the ports outside do not, nor is there any other pool."""
    firewall = Firewall((rule("172.18.0.0/16"),))
    assert spans(pooled(IN_RANGE, firewall=firewall)) == {RANGE: 3}
    assert spans(pooled([*IN_RANGE, ELSEWHERE], firewall=firewall)) == {RANGE: 3, ALL: 5}
    assert spans(pooled(IN_RANGE)) == {ALL: 4}


@pytest.mark.parametrize(
    "firewall",
    [
        Firewall(()),
        Firewall((rule("172.18.0.0/16", ports=None),)),
        Firewall((rule("172.20.0.0/16"),)),
        Firewall((rule("fd00::/8"),)),
        Firewall((rule("no address"),)),
        Firewall((rule("172.18.0.0/16", to_address="203.0.113.99"),)),
        Firewall((rule("172.18.0.0/16", ports=(50000, 50999)),)),
        Firewall((rule(),), (NetworkNat("shop", "172.18.0.0/16", rule("172.18.0.0/16", ports=None)),)),
        Firewall((rule(),), (NetworkNat("shop", "172.18.0.0/16", None),)),
        Firewall((rule("172.18.0.9-172.18.0.77"),)),
        Firewall((rule("172.18.0.0/16", to_address="203.0.113.90-203.0.113.99"),)),
        Firewall((replace(rule(), protocols=("udp", "132")),)),
        Firewall((), (NetworkNat("shop", "172.18.0.0/16", None, {"udp": rule()}),)),
    ],
)
def test_rules_that_do_not_apply(firewall: Firewall) -> None:
    assert spans(pooled(IN_RANGE, firewall=firewall)) == {ALL: 4}


@pytest.mark.parametrize(
    "firewall",
    [
        Firewall((rule(),)),
        Firewall((rule(ports=(40999, 40000)),)),
        Firewall((rule("172.17.0.0/16", "172.18.0.0/16", to_address=HOST),)),
        Firewall((), (NetworkNat("shop", "172.18.0.0/16", rule("172.18.0.0/16")),)),
        Firewall((rule(ports=(40000, 40010), priority=110), rule("172.18.0.0/16"))),
        Firewall((rule("172.18.0.0-172.18.0.77", to_address=f"203.0.113.1-{HOST}"),)),
        Firewall((replace(rule(), protocols=("udp", "tcp")),)),
        Firewall((), (NetworkNat("shop", "172.18.0.0/16", rule(), {"udp": None}),)),
    ],
)
def test_rules_that_apply(firewall: Firewall) -> None:
    assert spans(pooled(IN_RANGE, firewall=firewall)) == {RANGE: 3}


def test_a_port_that_nat_picks_only_by_rule() -> None:
    firewall = Firewall((rule("172.18.0.0/16", ports=(500, 600)),))
    assert spans(pooled([out(550), own(599)], firewall=firewall)) == {(500, 600): 2}


def test_ids_are_of_no_port_range() -> None:
    ping = Flow(
        orig=Ends("fd00:18::3", "2001:db8::7", 40000, 128 << 8),
        reply=Ends("2001:db8::7", "2001:db8::1", 40000, 129 << 8),
        proto=ICMPV6,
        status=plain.ASSURED | SRC_NAT,
    )
    assert spans(pooled([ping], firewall=Firewall((rule(),)))) == {(0, 65535): 1}


# Against plain loops

PORTS = st.sampled_from((0, 1, 2, 500, 511, 512, 550, 600, 1023, 1024, 40000, 40001, 40002, 40500, 65535))
FAMILIES = (
    (("172.18.0.3", "172.19.0.2", HOST), (REMOTE, "198.51.100.8"), (HOST, "203.0.113.11")),
    (("fd00:18::3", "fd00:19::2"), ("2001:db8::7", "2001:db8:1::7"), ("2001:db8::1", "2001:db8:1::1")),
)


@st.composite
def entries(draw: st.DrawFn) -> Flow:
    clients, remotes, addresses = draw(st.sampled_from(FAMILIES))
    proto = draw(st.sampled_from((TCP, TCP, TCP, UDP, ICMP, ICMPV6, SCTP, GRE, 33, 136, 50)))
    remote, remote_port = draw(st.sampled_from(remotes)), draw(st.sampled_from((0, 80, 443)))
    status = draw(st.sampled_from((0, SRC_NAT, SRC_NAT, SRC_NAT | 0x200, SRC_NAT | 0x400, SRC_NAT | 0x8000)))
    return Flow(
        orig=Ends(draw(st.sampled_from(clients)), remote, draw(PORTS), remote_port),
        reply=Ends(remote, draw(st.sampled_from(addresses)), draw(PORTS), draw(PORTS))
        if proto in (ICMP, ICMPV6)
        else Ends(remote, draw(st.sampled_from(addresses)), remote_port, draw(PORTS)),
        proto=proto,
        state=draw(st.sampled_from((None, 3, 7, 8, 9, 200))) if proto == TCP else None,
        status=8 | status,
        timeout_s=draw(st.sampled_from((None, 0, 30, 119))),
        zone=draw(st.sampled_from((0, 0, 0, 5))),
        id=draw(st.integers(0, 5)),
    )


FIREWALLS = (
    None,
    Firewall((rule("172.18.0.0/16"),)),
    Firewall((rule("172.18.0.0/16", ports=(1, 600)), rule("172.18.0.0/16", "fd00:18::/64", ports=(40001, 65535)))),
)


def ruled(one: Flow, firewall: Firewall | None) -> Span | None:
    """The range of the first rule for the flow's source that its port is in."""
    if not one.status & SRC_NAT or one.proto not in plainpools.PORTED:
        return None
    for each in firewall.rules if firewall else ():
        prefixes = tuple(source.split("/")[0].removesuffix("0.0").removesuffix(":") for source in each.sources)
        if each.ports and one.orig.src.startswith(prefixes) and each.ports[0] <= one.reply.dport <= each.ports[1]:
            return each.ports
    return None


@given(st.lists(entries(), max_size=30), st.booleans(), st.sampled_from(FIREWALLS), st.data())
def test_any_table_gives_the_pools_that_plain_loops_give(
    flows: list[Flow], evicting: bool, firewall: Firewall | None, data: st.DataObject
) -> None:
    codes = data.draw(st.lists(st.sampled_from((-2, -1, 0, 1, 7)), min_size=len(flows), max_size=len(flows)))
    some = st.sampled_from((Kind.MASQUERADED, Kind.REMAPPED, Kind.HOST))
    told_kinds = data.draw(st.lists(some, min_size=len(flows), max_size=len(flows)))
    table = plain.table(flows)
    found = nat_pools(table, owners(codes, told_kinds), evicting, firewall)
    expected = plainpools.pools(flows, lambda one: ruled(one, firewall))
    assert plainpools.rows(found) == {
        key: plainpools.told(pool, flows, codes, told_kinds, evicting) for key, pool in expected.items()
    }
    use = found.used / found.capacity
    assert (use[1:] <= use[:-1]).all()
    assert (found.used == found.hard + found.soft).all()
    assert ((found.loss == 0) | (found.capacity < 128)).all()
    assert rewritten(table).tolist() == [plainpools.moved(one) for one in flows]


def test_crafted_addresses_whose_hashes_collide_merge_no_pools() -> None:
    """Whoever may choose IPv6 addresses can make all hashes of a table equal."""
    rows = 400
    flows = [flow(f"[fd00::3]:{40000 + n % 7}", f"[2001:db8::{n:x}]:443") for n in range(rows)]
    table = plain.table([replace(each, status=each.status | SRC_NAT) for each in flows])
    table = replace(table, reply_dst=_with_one_hash(table.reply_src.lo))
    table = table.take(np.concatenate([np.arange(rows), np.arange(0, rows, 2)]))
    nothing = np.zeros(len(table), np.uint64)
    assert len(set(hashed([nothing, table.reply_dst.lo, table.reply_src.lo]).tolist())) == 1
    again = replace(table, reply_dport=table.reply_dport + (np.arange(len(table)) >= rows).astype(np.uint16))
    found = nat_pools(again, owners([0] * len(table)), True)
    assert sorted(found.used.tolist()) == [1] * (rows // 2) + [2] * (rows // 2)
    assert len({(found.nat.text(i), found.remote.text(i)) for i in range(rows)}) == rows


def _with_one_hash(remote: np.ndarray) -> Addresses:
    """SNAT addresses that make one hash of all pairs of SNAT address and remote address, by the hash's factors."""
    nat_factor, remote_factor = 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
    inverse = pow(nat_factor, -1, 2**64)
    low = [(12345 ^ int(each) * remote_factor % 2**64) * inverse % 2**64 for each in remote]
    return Addresses(np.full(len(low), 0x2001_0DB8 << 32, np.uint64), np.array(low, np.uint64))
