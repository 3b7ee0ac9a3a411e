"""One sample in, one snapshot out; a live view is a fold."""

import errno
import os
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop import observe as observe_module
from natop.decode import counters
from natop.join.firewall import described
from natop.join.flows import Flows
from natop.model import (
    HOST_SOCKETS,
    Attachment,
    Container,
    ContainerSummary,
    FirewallText,
    Gap,
    HostFacts,
    Kind,
    Namespace,
    Pace,
    Sample,
    Skipped,
    Snapshot,
    Sockets,
)
from natop.observe import observe
from tests.unit import netlink, plain
from tests.unit.hosts import (
    APP,
    BOOT_ID,
    CONTAINERS,
    DB,
    HOST_ADDRESSES,
    PROC,
    WEB,
    container,
    engine,
    observed,
    sample,
)
from tests.unit.plain import Flow, flow
from tests.unit.rulesets import DOCKER_20, DOCKER_20_NO_PROXY, ROUTES, saved

FLOWS = [
    flow("100.64.0.9:51234", "203.0.113.10:8080", dnat="172.18.0.2:80", id=1, state=7),
    flow("172.18.0.3:40000", "198.51.100.7:443", snat="203.0.113.10:50000", id=2),
]
REFUSED = [netlink.error(errno.EPERM)]
EPERM_GAP = Gap("flows", "reading conntrack needs CAP_NET_ADMIN", "run: sudo natop")


def stats(count: int, **numbers: int) -> bytes:
    return netlink.stats_global(count, 262144) + netlink.stats_cpu(0, numbers) + netlink.done()


def flow_ids(taken: Snapshot) -> list[int] | None:
    return None if taken.reading is None else taken.reading.flows.id.tolist()


def parties(taken: Snapshot) -> list[tuple[str | None, str | None, str]]:
    """Who is at the ends of each flow, and its kind."""
    flows = Flows.of(taken)
    assert flows is not None
    kinds = [Kind(kind).name for kind in flows.attribution.kind.tolist()]
    return [(flows.client(row), flows.server(row), kind) for row, kind in enumerate(kinds)]


def test_a_first_snapshot() -> None:
    taken = observed(sample(FLOWS, containers=CONTAINERS, stats=stats(2, insert_failed=7), pace=Pace(2, 2)))
    assert taken.interval_s is None
    assert taken.counter_rates is None
    assert taken.host == HostFacts(
        "natter",
        "6.18.44",
        "net:[4026531840]",
        {
            "nf_conntrack_max": 262144,
            "nf_conntrack_buckets": 65536,
            "nf_conntrack_tcp_timeout_time_wait": 120,
            "ip_local_port_range": (32768, 60999),
            "bridge-nf-call-iptables": 1,
        },
        BOOT_ID,
        addresses=HOST_ADDRESSES,
    )
    assert (taken.conntrack.count, taken.conntrack.max, taken.conntrack.buckets) == (2, 262144, 65536)
    assert taken.conntrack.counters == {"insert_failed": 7}
    assert taken.inventory is not None
    assert [each.container.name for each in taken.containers] == ["app", "db", "edge", "web"]
    assert flow_ids(taken) == [1, 2]
    assert (taken.gaps, taken.pace) == ((), Pace(2, 2))


def test_counter_rates_are_over_the_time_between_snapshots() -> None:
    taken = observed(
        sample(stats=stats(2, insert_failed=2**32 - 1, drop=5)), sample(at=4, stats=stats(2, insert_failed=3, found=1))
    )
    assert taken.interval_s == 4
    assert taken.counter_rates == {"insert_failed": 1.0}


def test_a_tick_without_a_dump_keeps_the_reading_as_it_is() -> None:
    first = observed(sample(FLOWS, containers=CONTAINERS))
    later = observe(first, sample(None, at=2, containers=CONTAINERS, stats=stats(9)))
    assert later.reading is first.reading
    assert (later.whole, later.containers, later.unowned) == (first.whole, first.containers, first.unowned)
    assert later.inventory is first.inventory
    assert later.conntrack.count == 9
    assert later.interval_s == 2


def test_a_tick_without_a_dump_before_any_dump_knows_no_flows() -> None:
    taken = observed(sample(None, containers=CONTAINERS))
    assert (taken.reading, taken.whole, taken.unowned) == (None, None, None)
    assert [(each.flows, each.inbound, each.outbound) for each in taken.containers] == [(None, None, None)] * 4
    assert taken.gaps == ()


def test_a_container_that_changes_takes_its_flows_along() -> None:
    first = observed(sample(FLOWS, containers=(WEB,)))
    moved = replace(WEB, networks=(replace(WEB.networks[0], ipv4="172.18.0.99"),))
    later = observe(first, sample(None, at=2, containers=(APP, moved)))
    assert flow_ids(later) == [1, 2]
    assert later.reading is not None
    assert (later.reading.taken_at, later.reading.monotonic_s) == (first.taken_at, first.monotonic_s)
    assert {each.container.name: each.flows and each.flows.counts.total for each in later.containers} == {
        "app": 1,
        "web": 0,
    }


@pytest.mark.parametrize("containers", [(APP, WEB), (APP, DB, WEB), CONTAINERS, None])
def test_attribution_fits_the_inventory_of_the_same_snapshot(containers: tuple[Container, ...] | None) -> None:
    taken = observed(
        sample(FLOWS, containers=CONTAINERS),
        sample(None, at=1, containers=containers),
        sample(None, at=2, containers=None),
        sample(None, at=3, containers=(APP, WEB)),
    )
    assert taken.reading is not None
    assert taken.reading.attribution.server.tolist() == [1, -1]
    assert taken.reading.attribution.client.tolist() == [-1, 0]


def test_who_came_back_does_not_own_the_flows_of_before() -> None:
    there, away = (APP, WEB), (WEB,)
    taken = observed(*(sample(None if at else FLOWS, at=at, containers=c) for at, c in enumerate((there, away, there))))
    assert taken.reading is not None
    assert taken.reading.attribution.server.tolist() == [1, -1]
    assert parties(taken) == [(None, "web", "PUBLISHED"), ("gone: app", None, "STALE")]
    assert taken.former == {"172.18.0.3": "app", "172.19.0.3": "app"}
    new = replace(FLOWS[1], id=9)
    assert parties(observe(taken, sample([FLOWS[1], new], at=4, containers=there))) == [
        ("gone: app", None, "STALE"),
        ("app", None, "MASQUERADED"),
    ]


def test_an_engine_that_goes_leaves_flows_by_address() -> None:
    gap = Gap("docker", "no Docker Engine is listening there")
    taken = observed(sample(FLOWS, containers=CONTAINERS), sample(FLOWS, at=2, containers=None, gaps=(gap,)))
    assert taken.inventory is None
    assert taken.containers == ()
    assert taken.unowned is None, "nobody knows which flows are the containers'"
    assert taken.whole is not None
    assert taken.whole.counts.total == 2
    assert taken.gaps == (gap,)


def test_another_namespace_of_the_same_name_starts_anew() -> None:
    first = observed(sample(FLOWS, containers=CONTAINERS, stats=stats(2, drop=1)))
    other = sample(None, at=2, containers=(WEB,), netns="net:[7]", stats=stats(2, drop=9))
    taken = observe(first, other)
    assert (taken.reading, taken.whole, taken.interval_s, taken.counter_rates) == (None, None, None, None)
    assert (taken.former, taken.containers) == ({}, (ContainerSummary(WEB),))
    again = observe(taken, sample(FLOWS, at=4, containers=(WEB,), netns="net:[7]", stats=stats(2, drop=11)))
    assert (again.interval_s, again.counter_rates) == (2.0, {"drop": 1.0})


# Who had an address before


def moved(described: Container, ipv4: str) -> Container:
    return replace(described, networks=(replace(described.networks[0], ipv4=ipv4),))


ONE, TWO = container("one", "10.0.0.1", "fd00::1"), container("two", "10.0.0.2")


@pytest.mark.parametrize(
    ("inventories", "expected"),
    [
        ([(ONE, TWO)], {}),
        ([(ONE, TWO), (ONE, TWO)], {}),
        ([(), (ONE,)], {}),
        ([(ONE, TWO), (TWO,)], {"10.0.0.1": "one", "fd00::1": "one"}),
        ([(ONE, TWO), ()], {"10.0.0.1": "one", "fd00::1": "one", "10.0.0.2": "two"}),
        ([(TWO,), (moved(TWO, "10.0.0.9"),)], {"10.0.0.2": "two"}),
        ([(TWO,), (replace(TWO, networks=(), state="exited"),)], {"10.0.0.2": "two"}),
        ([(TWO,), (replace(TWO, name="zwei"),)], {}),
        ([(TWO,), (container("heir", "10.0.0.2"),)], {"10.0.0.2": "two"}),
        ([(TWO,), (container("heir", "10.0.0.2"),), ()], {"10.0.0.2": "heir"}),
        ([(TWO,), (), (TWO,)], {"10.0.0.2": "two"}),
        ([(TWO,), None, (TWO,)], {}),
        ([(TWO,), (), None, (ONE,)], {"10.0.0.2": "two"}),
    ],
)
def test_former(inventories: list[tuple[Container, ...] | None], expected: dict[str, str]) -> None:
    taken = observed(*(sample(None, at=at, containers=some) for at, some in enumerate(inventories)))
    assert taken.former == expected


def test_the_last_to_go_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe_module, "FORMER_KEPT", 3)
    some = [container(f"c{number}", f"10.0.0.{number}") for number in range(6)]
    taken = observed(*(sample(None, at=at, containers=[each]) for at, each in enumerate([*some, some[2]])))
    assert taken.former == {"10.0.0.3": "c3", "10.0.0.4": "c4", "10.0.0.5": "c5"}
    again = observe(taken, sample(None, at=9, containers=()))
    assert list(again.former) == ["10.0.0.4", "10.0.0.5", "10.0.0.2"]


# What else a dump's sample tells of


def own_tables(taken: Snapshot) -> dict[str, int | None]:
    return {each.container.name: each.own_table for each in taken.containers}


def test_own_tables_are_those_of_the_last_dump() -> None:
    tables = {WEB.id: stats(37), DB.id: netlink.error(errno.EPERM), "no container's": stats(5)}
    first = observed(sample(FLOWS, containers=CONTAINERS, tables=tables))
    expected = {"app": None, "db": None, "edge": None, "web": 37}
    assert own_tables(first) == expected
    waiting = observe(first, sample(None, at=1, containers=CONTAINERS))
    assert own_tables(waiting) == expected
    changed = observe(waiting, sample(None, at=2, containers=(APP, WEB)))
    assert own_tables(changed) == {"app": None, "web": 37}
    assert own_tables(observe(changed, sample(FLOWS, at=3, containers=(APP, WEB)))) == {"app": None, "web": None}


def test_namespaces_that_a_process_leads_to_have_names_too() -> None:
    told = replace(engine(replace(WEB, pid=7)), pid=812, netns="/proc/812/ns/net")
    paths = ("/proc/7/ns/net", "/proc/812/ns/net")
    taken = observed(sample(FLOWS, engine=told, namespaces=paths))
    assert [(each.name, each.path) for each in taken.namespaces] == [("Docker's own", paths[1]), ("web", paths[0])]


def test_namespaces_have_the_names_that_people_know() -> None:
    boxed = replace(WEB, sandbox="/var/run/docker/netns/0123456789ab")
    paths = ("/run/docker/netns/ingress_sbox", "/run/netns/b\x1b[2J", "/run/docker/netns/0123456789ab", "/run/netns/a")
    first = observed(sample(FLOWS, containers=(APP, boxed), namespaces=paths))
    expected = (
        Namespace("a", "/run/netns/a"),
        Namespace("b�[2J", "/run/netns/b\x1b[2J"),
        Namespace("ingress_sbox", "/run/docker/netns/ingress_sbox"),
        Namespace("web", "/run/docker/netns/0123456789ab"),
    )
    assert first.namespaces == expected
    assert observe(first, sample(None, at=1, containers=(APP, boxed))).namespaces == expected
    alone = observe(first, sample(FLOWS, at=2, containers=None, namespaces=paths[2:]))
    assert [each.name for each in alone.namespaces] == ["0123456789ab", "a"]
    assert observe(first, sample(FLOWS, at=2, containers=(APP, boxed))).namespaces == ()


# What this host's set-up keeps out of the table


UNSEEN_BRIDGE = Gap(
    "bridge",
    "flows between containers of one network are not in this table: bridge-nf-call-iptables is not 1",
    "let their packets pass iptables: modprobe br_netfilter; sysctl -w net.bridge.bridge-nf-call-iptables=1",
)
ON_LAN = [replace(each, networks=(Attachment("lan", "macvlan", each.networks[0].ipv4),)) for each in (APP, WEB)]


@pytest.mark.parametrize("call", ["0\n", "", None])
@pytest.mark.parametrize(
    ("containers", "told"),
    [
        (CONTAINERS, True),
        ((APP, WEB), True),
        ((APP, DB), True),
        ((DB, WEB), False),
        ((APP,), False),
        ((), False),
        (None, False),
        ((APP, replace(WEB, state="exited")), False),
        ((APP, replace(WEB, state="paused")), False),
        (ON_LAN, False),
    ],
)
def test_neighbours_whose_flows_pass_unseen(
    containers: Sequence[Container] | None, told: bool, call: str | None
) -> None:
    key = "sys/net/bridge/bridge-nf-call-iptables"
    proc = {name: text for name, text in PROC.items() if name != key} | ({} if call is None else {key: call})
    assert observed(sample(FLOWS, containers=containers, proc=proc)).gaps == ((UNSEEN_BRIDGE,) if told else ())
    assert observed(sample(FLOWS, containers=containers)).gaps == ()


def test_a_rootless_engine_has_its_nat_elsewhere() -> None:
    reading = replace(engine(WEB), info={"SecurityOptions": ["name=seccomp", "name=rootless"]})
    (gap,) = observed(sample(FLOWS, engine=reading)).gaps
    assert gap == Gap(
        "docker",
        "this engine is rootless: its containers' NAT is in a network namespace of its own",
        "as its user: nsenter -U --preserve-credentials -n -t $(cat $XDG_RUNTIME_DIR/docker.pid) natop",
    )


@pytest.mark.parametrize(
    ("netns", "user_s", "root_s"),
    [
        ("/proc/812/ns/net", "-n -t 812", "812"),
        ("/proc/812/root/x/netns", "-t 812 --net=/proc/812/root/x/netns", "/proc/812/root/x/netns"),
    ],
)
def test_where_the_engine_s_process_is_known_so_is_the_way(netns: str, user_s: str, root_s: str) -> None:
    reading = replace(engine(WEB), info={"SecurityOptions": ["name=rootless"]}, pid=812, netns=netns)
    (gap,) = observed(sample(FLOWS, engine=reading)).gaps
    assert gap.remedy == (
        f"as its user: nsenter -U --preserve-credentials {user_s} natop; as root: natop --netns {root_s}"
    )


def test_the_way_to_podman_s_networks() -> None:
    """Its service is not in their namespace, which lies beside the containers' until Podman 5."""
    told = {"Components": [{"Name": "Podman Engine"}]}
    reading = replace(engine(WEB, **told), info={"Rootless": True}, pid=812, netns="/proc/812/ns/net")
    way = "as its user: podman unshare --rootless-netns natop"
    first = observed(sample(FLOWS, engine=reading))
    assert [gap.remedy for gap in first.gaps] == [way]
    path = "/proc/812/root/run/user/1000/netns/rootless-netns-9b44775f"
    second = observe(first, sample(FLOWS, at=1, engine=reading, namespaces=(path,)))
    third = observe(second, sample(None, at=2, engine=reading))
    for taken in (second, third):
        assert [gap.remedy for gap in taken.gaps] == [f"{way}; as root: natop --netns {path}"]


@pytest.mark.parametrize(
    ("entered", "users", "address", "is_inside"),
    [
        (None, "0 0 4294967295", "172.18.0.1", False),
        (None, "0 1000 1\n1 100000 65536", "172.18.0.1", True),
        ("/proc/812/ns/net", "0 0 4294967295", "172.18.0.1", True),
        ("/proc/812/ns/net", "0 0 4294967295", "192.0.2.1", False),
    ],
)
def test_inside_a_rootless_engine_s_namespace_nothing_is_elsewhere(
    entered: str | None, users: str, address: str, is_inside: bool
) -> None:
    """A second engine may have the same addresses: the first namespace of the machine is not the rootless one's."""
    network = {"Id": "1", "Name": "shop", "Driver": "bridge", "IPAM": {"Config": [{"Subnet": "172.18.0.0/16"}]}}
    reading = replace(engine(WEB), info={"SecurityOptions": ["name=rootless"]}, networks=(network,))
    taken = sample(FLOWS, engine=reading, proc={**PROC, counters.USERS_FILE: users})
    taken = replace(taken, entered=entered, addresses=(address,))
    assert (observed(taken).gaps == ()) == is_inside


# What could not be read


def test_a_refusal_stands_until_the_next_dump() -> None:
    refused = observed(sample(dump=REFUSED, containers=CONTAINERS, stats=netlink.error(errno.EPERM)))
    assert refused.gaps == (EPERM_GAP,)
    assert (refused.reading, refused.whole, refused.conntrack.count) == (None, None, None)
    waiting = observe(refused, sample(None, at=2, containers=CONTAINERS))
    assert waiting.gaps == (EPERM_GAP,)
    again = observe(waiting, sample(dump=REFUSED, at=4, containers=CONTAINERS))
    assert again.gaps == (EPERM_GAP,)
    assert observe(again, sample(FLOWS, at=6, containers=CONTAINERS)).gaps == ()


def test_a_refusal_after_a_dump_keeps_what_was_read() -> None:
    taken = observed(sample(FLOWS, containers=CONTAINERS), sample(dump=REFUSED, at=2, containers=CONTAINERS))
    assert flow_ids(taken) == [1, 2]
    assert taken.gaps == (EPERM_GAP,)


def test_a_collector_s_gap_about_the_flows_stands_once() -> None:
    """The kernel refused the socket, tick after tick."""
    gap = Gap("flows", "the kernel refuses ctnetlink: Protocol not supported")
    refused = [sample(None, at=at, gaps=(gap,)) for at in range(4)]
    assert observed(*refused).gaps == (gap,)
    other = Gap("flows", "the kernel refuses ctnetlink: Too many open files")
    assert observed(*refused, sample(None, at=5, gaps=(other,))).gaps == (other,)
    assert observed(*refused, sample(None, at=5)).gaps == (gap,)
    assert observed(*refused, sample(FLOWS, at=5)).gaps == ()


def test_gaps_of_other_sources_are_those_of_this_sample() -> None:
    gap = Gap("docker", "gone")
    assert observed(sample(FLOWS, gaps=(gap,)), sample(None, at=1)).gaps == ()


def test_an_incomplete_dump_keeps_the_last_whole_one() -> None:
    half = [netlink.flow_message(FLOWS[1])]
    taken = observed(sample(FLOWS, containers=CONTAINERS), sample(dump=half, at=2, containers=CONTAINERS))
    assert flow_ids(taken) == [1, 2]
    assert taken.gaps == (Gap("flows", "the kernel's dump ended early, after 1 flow"),)
    alone = observed(sample(dump=half))
    assert (alone.reading, alone.whole) == (None, None)


def test_another_refusal_is_named() -> None:
    (gap,) = observed(sample(dump=[netlink.error(errno.EOPNOTSUPP)])).gaps
    assert gap.source == "flows"
    assert "Operation not supported" in gap.reason
    assert gap.remedy is not None
    assert "modprobe" in gap.remedy


@pytest.mark.parametrize("number", [errno.EBUSY, errno.ENOBUFS, errno.ENOMEM])
def test_no_module_helps_a_kernel_that_refuses_for_the_moment(number: int) -> None:
    (gap,) = observed(sample(dump=[netlink.error(number)])).gaps
    assert gap == Gap("flows", f"ctnetlink refused the dump: {os.strerror(number)}")


def test_messages_that_made_no_sense_are_a_gap_beside_the_flows() -> None:
    taken = observed(sample(dump=[netlink.message(netlink.NEW, b"\2\0\0\0") + netlink.dump(FLOWS)]))
    assert taken.reading is not None
    assert taken.reading.skipped == Skipped(messages=1)
    (gap,) = taken.gaps
    assert gap.reason == "1 message of the dump was skipped, making no sense"


def test_what_the_host_calls_itself_is_made_harmless() -> None:
    proc = PROC | {"sys/kernel/osrelease": "6.1\x1b[2J\n", counters.BOOT_FILE: "\x9b1\n"}
    host = observed(sample(None, hostname="a\x1b]0;b\x07", netns="net:[\n]", proc=proc)).host
    assert (host.hostname, host.kernel, host.netns, host.boot_id) == ("a�]0;b�", "6.1�[2J", "net:[�]", "�1")


def test_without_proc_the_kernel_is_unknown() -> None:
    assert observed(sample(None, proc={})).host == HostFacts(
        "natter", None, "net:[4026531840]", {}, addresses=HOST_ADDRESSES
    )
    assert observed(sample(None, addresses=())).host.addresses is None, "unknown"


def test_the_clock_may_stand_still_or_be_set() -> None:
    taken = observed(sample(FLOWS, stats=stats(1, drop=1)), sample(FLOWS, stats=stats(1, drop=2), taken_at=0.0))
    assert (taken.interval_s, taken.counter_rates) == (None, None)


BYTES = st.binary(max_size=200)


@st.composite
def hostile_samples(draw: st.DrawFn) -> list[Sample]:
    """Any bytes and text where the kernel's and the engine's should stand."""
    found = []
    for at in range(draw(st.integers(1, 3))):
        good = draw(st.sampled_from((b"", netlink.dump(FLOWS), netlink.flow_message(FLOWS[0]))))
        junk = draw(st.sampled_from((b"", netlink.error(draw(st.integers(-(2**31) + 1, 2**31))))) | BYTES)
        fields: dict[str, Any] = {
            "stats": draw(st.just(stats(1, drop=1)) | BYTES),
            "proc": draw(st.dictionaries(st.sampled_from(counters.PROC_FILES), st.text(max_size=20), max_size=3)),
            "addresses": tuple(draw(st.lists(st.text(max_size=8), max_size=2))),
            "hostname": draw(st.text(max_size=9)),
        }
        dump = draw(st.none() | st.just([good, junk]) | st.just([junk + good]))
        containers = draw(st.none() | st.just(CONTAINERS))
        found.append(sample(dump=dump, at=at, containers=containers, **fields))
    return found


@given(hostile_samples())
def test_no_sample_raises(samples: list[Sample]) -> None:
    taken = observed(*samples)
    assert (taken.whole is None) == (taken.reading is None) == (taken.unowned is None)
    if taken.reading is not None:
        assert len(plain.rows(taken.reading.flows)) == len(taken.reading.attribution.kind)


@pytest.mark.parametrize("number", [-(2**31) + 1, -1, 2**31 - 1, 2**31, 4095])
def test_an_errno_of_no_kernel_is_a_gap_all_the_same(number: int) -> None:
    assert [gap.source for gap in observed(sample(dump=[netlink.error(number)])).gaps] == ["flows"]


def test_the_engine_s_own_reading_is_not_kept() -> None:
    """What is not in the inventory's types does not reach the snapshot."""
    reading = engine(WEB)
    spoilt = replace(reading, containers=({**reading.containers[0], "Secret": "hunter2"},))
    assert "hunter2" not in repr(observed(sample(FLOWS, engine=spoilt)))


class Asked:
    """Sockets that remember what they were asked for."""

    def __init__(self, answer: Sockets | Gap | None) -> None:
        self.answer, self.keys = answer, list[str]()

    def __call__(self, key: str) -> Sockets | Gap | None:
        self.keys.append(key)
        return self.answer


NONE_HELD = Sockets(b"", {}, {})
BETWEEN = [flow("172.18.0.3:40000", "172.18.0.2:80")]
OUTWARD = [flow("203.0.113.10:41000", "198.51.100.7:443")]


@pytest.mark.parametrize(("flows", "keys"), [(BETWEEN, []), (OUTWARD, [HOST_SOCKETS]), ([], [])])
def test_sockets_are_read_only_for_flows_that_need_them(flows: list[Flow], keys: list[str]) -> None:
    asked = Asked(NONE_HELD)
    observed(sample(flows, containers=CONTAINERS, sockets=asked))
    assert asked.keys == keys


@pytest.mark.parametrize(("flows", "is_asked"), [(BETWEEN, True), (OUTWARD, False)])
def test_sockets_of_a_shared_namespace_are_read_only_where_it_has_flows(flows: list[Flow], is_asked: bool) -> None:
    beside = container("beside", network_mode=f"container:{WEB.id}")
    asked = Asked(NONE_HELD)
    observed(sample(flows, containers=[*CONTAINERS, beside], sockets=asked))
    assert (WEB.id in asked.keys) == is_asked


def test_sockets_that_are_refused_are_a_gap_until_the_next_dump() -> None:
    gap = Gap("sockets", "refused")
    first = sample(OUTWARD, containers=CONTAINERS, sockets=Asked(gap))
    later = sample(None, at=2, containers=CONTAINERS)
    mended = sample(OUTWARD, at=4, containers=CONTAINERS, sockets=Asked(NONE_HELD))
    assert gap in observed(first).gaps
    assert gap in observed(first, later).gaps
    assert gap not in observed(first, later, mended).gaps


def test_a_kernel_without_udp_diag_is_a_gap() -> None:
    answers = struct.pack("=IHHIIi", 20, 3, 0, 17, 0, -2)
    taken = observed(sample(OUTWARD, containers=CONTAINERS, sockets=Asked(Sockets(answers, {}, {}))))
    [gap] = [each for each in taken.gaps if each.source == "sockets"]
    assert gap.reason == "the kernel does not tell UDP sockets, so their flows' holders are unknown"
    assert gap.remedy == "load the kernel's module: sudo modprobe udp_diag"


def rule_text(answers: dict[str, str], **more: Any) -> FirewallText:
    return FirewallText(answers, routes=ROUTES, **more)


NETWORKS = (
    {
        "Id": "a" * 64,
        "Name": "bridge",
        "Driver": "bridge",
        "IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}]},
        "Options": {"com.docker.network.bridge.name": "docker0"},
    },
)


def with_networks(**fields: Any) -> Sample:
    taken = sample(containers=CONTAINERS, **fields)
    assert taken.engine is not None
    return replace(taken, engine=replace(taken.engine, networks=NETWORKS))


def test_nat_rules_are_judged_for_the_engine_s_networks_and_kept() -> None:
    first = observed(with_networks(rules=rule_text(saved(DOCKER_20_NO_PROXY))))
    assert first.firewall is not None
    assert [(each.network, described(first.firewall, each.network)) for each in first.firewall.networks] == [
        ("bridge", "MASQUERADE")
    ]
    second = observe(first, with_networks(at=2))
    assert second.firewall is first.firewall
    assert second.inventory is first.inventory
    assert second.inventory is not None
    engine = second.inventory.engine
    assert (engine.firewall_backend, engine.userland_proxy) == ("iptables-nft", False)


def test_a_container_s_own_rules_say_nothing_of_the_networks() -> None:
    """Its namespace has an address that the engine gave to a container; the host has none such."""
    here = observed(with_networks(rules=rule_text({}), addresses=("127.0.0.1", "172.17.0.1")))
    inside = observed(with_networks(rules=rule_text({}), addresses=("127.0.0.1", WEB.networks[0].ipv4)))
    told = [[each.network for each in taken.firewall.networks] for taken in (here, inside) if taken.firewall]
    assert told == [["bridge"], []]


def test_the_rules_of_swarm_s_ingress_say_nothing_of_the_networks() -> None:
    """Its namespace has NAT of its own, for published services; the networks' is the host's."""
    bridge = {
        "Id": "b" * 64,
        "Name": "docker_gwbridge",
        "Driver": "bridge",
        "IPAM": {"Config": [{"Subnet": "172.20.0.0/16"}]},
        "Containers": {"ingress-sbox": {"IPv4Address": "172.20.0.2/16", "IPv6Address": ""}},
    }
    told = []
    for address in ("172.20.0.1", "172.20.0.2"):
        taken = with_networks(rules=rule_text({}), addresses=("127.0.0.1", "10.0.0.2", address))
        assert taken.engine is not None
        taken = replace(taken, engine=replace(taken.engine, networks=(*NETWORKS, bridge)))
        firewall = observed(taken).firewall
        assert firewall is not None
        told.append([each.network for each in firewall.networks])
    assert told == [["bridge", "docker_gwbridge"], []]


def test_without_a_rule_of_docker_s_its_own_word_stands() -> None:
    taken = observed(with_networks(rules=rule_text({})))
    assert taken.inventory is not None
    engine = taken.inventory.engine
    assert (engine.firewall_backend, engine.userland_proxy) == ("iptables", None)
    assert taken.firewall is not None
    assert [each.rule for each in taken.firewall.networks] == [None]


def test_a_gap_of_the_rules_stands_until_they_are_read_again() -> None:
    refused = rule_text({}, refused={"nft -j list chains": "Operation not permitted"})
    samples = [
        with_networks(rules=rule_text(saved(DOCKER_20))),
        with_networks(at=2, rules=refused),
        with_networks(at=4),
    ]
    for count, rules_read in ((1, True), (2, False), (3, False)):
        taken = observed(*samples[:count])
        assert (taken.firewall is not None) == rules_read
        assert [gap.reason for gap in taken.gaps if gap.source == "rules"] == (
            [] if rules_read else ["reading NAT rules needs CAP_NET_ADMIN"]
        )
    again = observed(*samples, with_networks(at=6, rules=rule_text(saved(DOCKER_20))))
    assert (again.firewall is not None, [gap for gap in again.gaps if gap.source == "rules"]) == (True, [])
