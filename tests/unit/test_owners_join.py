"""Who is at the ends of a flow that addresses alone do not tell: sockets, memory, docker-proxy, those that are gone."""

from collections.abc import Mapping
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.decode.neighbours import unanswered
from natop.join.deadends import dead_ends
from natop.join.flows import Flows
from natop.join.owners import Place, attribute
from natop.join.past import Memory
from natop.model import Container, Descriptor, Network, Process, Sockets
from tests.unit import diag, plain
from tests.unit.diag import Socket, connected, listening
from tests.unit.hosts import container, observed, sample
from tests.unit.joining import (
    APP,
    CGROUPS,
    CLI,
    EDGE,
    GATEWAY,
    HALVES,
    HOST,
    HOST_ADDRESSES,
    NGINX,
    REMOTE,
    RIM,
    WEB,
    Dumps,
    Parties,
    held,
    parties,
    place,
    proxied,
)
from tests.unit.plain import UDP, Flow, flow

OUT = flow(f"{HOST}:41000", f"{REMOTE}:443")
INTO = flow(f"{REMOTE}:42000", f"{HOST}:9000")


def test_two_host_network_containers_and_a_process() -> None:
    sockets = held(
        [
            connected(f"{HOST}:41000", f"{REMOTE}:443", inode=1, cgroup=7),
            connected(f"{HOST}:41001", f"{REMOTE}:443", inode=2, cgroup=8),
            connected(f"{HOST}:41002", f"{REMOTE}:443", inode=3, cgroup=9),
            connected(f"{HOST}:9000", f"{REMOTE}:42000", inode=4, cgroup=8),
        ],
        nginx=[3],
    )
    flows = [flow(f"{HOST}:4100{n}", f"{REMOTE}:443") for n in range(4)] + [INTO]
    assert Dumps().told(flows, place(EDGE, RIM, sockets=sockets)) == [
        ("HOST", "edge", None),
        ("HOST", "rim", None),
        ("HOST", "host: nginx[812]", None),
        ("HOST", "host (shared)", None),
        ("HOST", None, "rim"),
    ]


@pytest.mark.parametrize(
    ("containers", "expected"),
    [((), "host"), ((APP,), "host"), ((EDGE,), "host (shared)"), ((replace(EDGE, state="exited"),), "host")],
)
def test_whoever_it_is(containers: tuple[Container, ...], expected: str) -> None:
    assert Dumps().told([OUT], place(*containers, sockets=held([]))) == [("HOST", expected, None)]


@pytest.mark.parametrize("address", ["172.18.0.3", "fd00:18::3"])
def test_whoever_it_is_in_a_container_s_own_namespace(address: str) -> None:
    """A question to the embedded DNS: its socket is closed long before anybody looks."""
    asked = flow("127.0.0.1:40000", "127.0.0.11:53", proto=UDP, dnat="127.0.0.11:59030")
    resolver = held([listening("127.0.0.11:59030", inode=1, cgroup=9, proto=UDP)], nginx=[1])
    app = container("app", "172.18.0.3", "fd00:18::3")
    within = Place((CLI, app, EDGE), (address, "127.0.0.1"), sockets=lambda _: resolver)
    assert Dumps().told([asked], within) == [("HOST", "app", "host: nginx[812]")]


@pytest.mark.parametrize("address", ["127.0.0.53", "127.255.0.9"])
def test_all_of_127_is_the_host_s(address: str) -> None:
    """Also where no interface has it: systemd-resolved answers at 127.0.0.53, docker-proxy wherever it is told."""
    sockets = held([listening(f"{address}:53", inode=1)], nginx=[1])
    asked = flow("127.0.0.1:40000", f"{address}:53")
    assert Dumps().told([asked], place(sockets=sockets)) == [("HOST", "host", "host: nginx[812]")]
    beyond = flow(f"{REMOTE}:40000", "128.0.0.1:53")
    assert Dumps().told([beyond], place(sockets=sockets)) == [("FORWARDED", None, None)]


def test_a_listener_of_several_processes_is_the_eldest_s_but_not_init_s() -> None:
    master, workers, init = NGINX, [Process(900 + n, "worker") for n in range(30)], Process(1, "systemd")
    table = diag.answers([listening("0.0.0.0:9000", inode=1, cgroup=9)])
    for number in range(5):
        holding = [init, *workers, master]
        Random(number).shuffle(holding)
        sockets = Sockets(table, CGROUPS, {each: (Descriptor(4, 1),) for each in holding})
        assert Dumps().told([INTO], place(sockets=sockets)) == [("HOST", None, "host: nginx[812]")]


def test_processes_that_no_flow_is_of_any_more_are_forgotten() -> None:
    memory: Memory | None = None
    for number in range(40):
        one = plain.table([replace(OUT, id=number, orig=replace(OUT.orig, sport=41000 + number))])
        socket = connected(f"{HOST}:{41000 + number}", f"{REMOTE}:443", inode=5, cgroup=9)
        curl = Process(1000 + number, "curl")
        told = attribute(one, place(sockets=Sockets(diag.answers([socket]), {}, {curl: (Descriptor(4, 5),)})), memory)
        assert parties(one, told, ()) == [("HOST", f"host: curl[{1000 + number}]", None)]
        memory = Memory(one, told, (), 0.0)
        assert len(told.others) <= 3


def test_the_listener_else_shared() -> None:
    sockets = held([listening("0.0.0.0:9000", cgroup=7), listening("0.0.0.0:9100", cgroup=8, inode=2)])
    shared = held([listening("0.0.0.0:9000", cgroup=7), listening("0.0.0.0:9000", cgroup=8, inode=2)])
    assert Dumps().told([INTO], place(EDGE, RIM, sockets=sockets)) == [("HOST", None, "edge")]
    assert Dumps().told([INTO], place(EDGE, RIM, sockets=shared)) == [("HOST", None, "host (shared)")]


def test_closed_ones_are_remembered() -> None:
    sockets = held(
        [
            connected(f"{HOST}:41000", f"{REMOTE}:443", cgroup=7),
            connected(f"{HOST}:9000", f"{REMOTE}:42000", cgroup=8, inode=2),
        ]
    )
    dumps, expected = Dumps(), [("HOST", "edge", None), ("HOST", None, "rim")]
    assert dumps.told([OUT, INTO], place(EDGE, RIM, sockets=sockets)) == expected
    for later in (held([]), None, held([])):
        assert dumps.told([OUT, INTO], place(EDGE, RIM, sockets=later)) == expected
    for later in (held([]), None, held([])):
        told = dumps.told([OUT, INTO], place(RIM, sockets=later))
        assert told == [("STALE", "gone: edge", None), expected[1]]


@pytest.mark.parametrize("sockets", [held([]), None])
def test_a_container_on_the_host_s_network_that_stopped(sockets: Sockets | None) -> None:
    """It has no address that would be gone; what it has left is its flows, which only memory knows."""
    flows, dumps = [OUT, INTO], Dumps()
    open_ones = held(
        [
            connected(f"{HOST}:41000", f"{REMOTE}:443", cgroup=7),
            connected(f"{HOST}:9000", f"{REMOTE}:42000", cgroup=7, inode=2),
        ]
    )
    assert dumps.told(flows, place(EDGE, sockets=open_ones)) == [("HOST", "edge", None), ("HOST", None, "edge")]
    stopped, expected = replace(EDGE, state="exited"), [("STALE", "gone: edge", None), ("STALE", None, "gone: edge")]
    for where in (place(stopped, sockets=sockets), place(sockets=sockets), place(EDGE, sockets=sockets)):
        assert dumps.told(flows, where) == expected
    assert Dumps().told([OUT], place(stopped, sockets=open_ones)) == expected[:1], "a socket that lingers for its FIN"


def test_a_container_on_the_host_s_network_that_began_anew() -> None:
    """Between two dumps: what it held before is not its own any more, what is open now is."""
    other = replace(OUT, orig=replace(OUT.orig, sport=41001), id=9)
    dumps, before = Dumps(), replace(EDGE, started_at="2026-01-05T07:00:00Z")
    both = held([connected(f"{HOST}:{port}", f"{REMOTE}:443", inode=port, cgroup=7) for port in (41000, 41001)])
    dumps.told([OUT, other], place(before, sockets=both), at=BORN - 60)
    after = replace(EDGE, started_at=STARTED)
    now = held([connected(f"{HOST}:41001", f"{REMOTE}:443", cgroup=7)])
    expected = [("STALE", "gone: edge", None), ("HOST", "edge", None)]
    assert dumps.told([OUT, other], place(after, sockets=now), at=BORN + 60) == expected
    assert dumps.told([OUT, other], place(after, sockets=held([])), at=BORN + 70) == expected


def test_a_listener_whose_process_is_found_later_names_what_is_closed() -> None:
    """Processes are looked at in turn, as far as the time goes; until then it was whoever."""
    listener, dumps = [listening("0.0.0.0:9000", cgroup=9)], Dumps()
    assert dumps.told([INTO], place(EDGE, sockets=held(listener))) == [("HOST", None, "host (shared)")]
    found = held(listener, nginx=[1])
    assert dumps.told([INTO], place(EDGE, sockets=found)) == [("HOST", None, "host: nginx[812]")]
    assert dumps.told([INTO], place(EDGE, sockets=held(listener))) == [("HOST", None, "host: nginx[812]")]


def test_what_was_a_process_s_before_the_engine_told_of_its_container() -> None:
    """natop does not wait for the engine; what is closed by the time it answers is the container's all the same."""
    of_edge = Process(70, "httpd", (), f"0::/docker/{EDGE.id}\n")
    sockets = Sockets(diag.answers([listening("0.0.0.0:9000", cgroup=None)]), {}, {of_edge: (Descriptor(4, 1),)})
    dumps = Dumps()
    assert dumps.told([INTO], place(sockets=sockets)) == [("HOST", None, "host: httpd[70]")]
    assert dumps.told([INTO], place(EDGE, sockets=sockets)) == [("HOST", None, "edge")]
    assert dumps.told([INTO], place(EDGE, sockets=held([]))) == [("HOST", None, "edge")]


def test_who_served_is_remembered_before_who_listens_now() -> None:
    dumps = Dumps()
    dumps.told([INTO], place(EDGE, RIM, sockets=held([listening("0.0.0.0:9000", cgroup=7)])))
    now = held([listening("0.0.0.0:9000", cgroup=8)])
    assert dumps.told([INTO], place(EDGE, RIM, sockets=now)) == [("HOST", None, "edge")]


def test_another_flow_of_the_same_id_is_not_remembered() -> None:
    dumps = Dumps()
    dumps.told([OUT], place(EDGE, sockets=held([connected(f"{HOST}:41000", f"{REMOTE}:443", cgroup=7)])))
    other = flow(f"{HOST}:41001", f"{REMOTE}:443")
    assert dumps.told([other], place(EDGE, sockets=held([]))) == [("HOST", "host (shared)", None)]


@given(st.lists(st.sampled_from("abcdef"), max_size=8), st.data())
def test_memory_when_containers_come_and_go(owners: list[str], data: st.DataObject) -> None:
    """Whatever becomes of the inventory, a closed flow stays its owner's: as container, or as one that is gone."""
    everyone = {name: container(name, network_mode="host") for name in "abcdefgh"}
    cgroups = {number: f"/docker/{each.id}" for number, each in enumerate(everyone.values())}
    number_of = {name: number for number, name in enumerate(everyone)}
    flows = [flow(f"{HOST}:{41000 + n}", f"{REMOTE}:443") for n in range(len(owners))]
    sockets = [
        connected(f"{HOST}:{41000 + n}", f"{REMOTE}:443", inode=n + 1, cgroup=number_of[name])
        for n, name in enumerate(owners)
    ]
    now = sorted(everyone)
    dumps = Dumps()
    first = Sockets(diag.answers(sockets), cgroups, {})
    dumps.told(flows, place(*(everyone[name] for name in now), sockets=first))
    gone: set[str] = set()
    for _ in range(data.draw(st.integers(1, 4))):
        before, now = set(now), data.draw(st.lists(st.sampled_from("abcdefgh"), unique=True))
        gone |= before - set(now)
        told = dumps.told(flows, place(*(everyone[name] for name in now), sockets=Sockets(b"", cgroups, {})))
        assert [client for _, client, _ in told] == [f"gone: {name}" if name in gone else name for name in owners]


def test_a_null_binding_moves_the_port_alone() -> None:
    moved = flow(f"{HOST}:41000", f"{REMOTE}:443", snat=f"{HOST}:26252")
    ruled = flow(f"{GATEWAY}:41000", f"{REMOTE}:443", snat=f"{HOST}:41000")
    told = Dumps().told([moved, ruled], place(sockets=held([])))
    assert told == [("REMAPPED", "host", None), ("HOST", "host", None)]


BORN = 1_767_600_000
STARTED = "2026-01-05T08:00:00.123456789Z"


@pytest.mark.parametrize(
    ("began_s", "started_at", "expected"),
    [
        (BORN - 60, STARTED, ("STALE", "gone: app", None)),
        (BORN - 3, STARTED, ("STALE", "gone: app", None)),
        (BORN - 1, STARTED, ("MASQUERADED", "app", None)),
        (BORN + 60, STARTED, ("MASQUERADED", "app", None)),
        (None, STARTED, ("MASQUERADED", "app", None)),
        (BORN + 60, "2026-01-05T10:00:00.123456789+02:00", ("MASQUERADED", "app", None)),
        (BORN - 60, "2026-01-05T06:00:00-02:00", ("STALE", "gone: app", None)),
        (BORN - 60, None, ("MASQUERADED", "app", None)),
        (BORN - 60, "0001-01-01T00:00:00Z", ("MASQUERADED", "app", None)),
        (BORN - 60, "yesterday", ("MASQUERADED", "app", None)),
        (BORN - 60, "2999-01-01T00:00:00Z", ("STALE", "gone: app", None)),
    ],
)
def test_flows_older_than_the_container(began_s: int | None, started_at: str | None, expected: Parties) -> None:
    began = None if began_s is None else began_s * 10**9
    old = flow("172.18.0.3:4000", f"{REMOTE}:443", snat=f"{HOST}:4000", started_ns=began)
    known = flow(f"{REMOTE}:1", f"{HOST}:2", started_ns=1)
    assert Dumps().told([old, known], place(replace(APP, started_at=started_at)))[0] == expected


@pytest.mark.parametrize(
    ("began_s", "expected"),
    [(BORN - 60, "gone: app"), (BORN - 600, "gone: app"), (BORN - 603, "gone: 172.18.0.3")],
)
def test_flows_older_than_the_container_s_making(began_s: int, expected: str) -> None:
    """Its own of an earlier run, those after that; those before it another's, of whom the address alone is known."""
    app = replace(APP, started_at=STARTED, created_at="2026-01-05T07:50:00.5Z")
    old = flow("172.18.0.3:4000", f"{REMOTE}:443", snat=f"{HOST}:4000", started_ns=began_s * 10**9)
    call = flow("172.18.0.4:4001", "172.18.0.3:80", started_ns=began_s * 10**9)
    assert Dumps().told([old, call], place(app, CLI)) == [("STALE", expected, None), ("STALE", "cli", expected)]
    named = place(app, CLI, former={"172.18.0.3": "elder"})
    assert Dumps().told([old], named) == [("STALE", "gone: elder", None)]


def test_the_name_of_whom_the_address_was() -> None:
    old = flow("172.18.0.3:4000", f"{REMOTE}:443", snat=f"{HOST}:4000", started_ns=(BORN - 60) * 10**9)
    app = replace(APP, started_at=STARTED)
    assert Dumps().told([old], place(app, former={"172.18.0.3": "old"})) == [("STALE", "gone: old", None)]
    assert Dumps().told([old], place(former={"172.18.0.3": "old"})) == [("STALE", "gone: old", None)]
    assert Dumps().told([old], Place((), ("172.18.0.3",), {"172.18.0.3": "old"}))[0][0] == "HOST", "the host's now"


def test_an_address_that_changes_hands() -> None:
    both = [flow("172.18.0.3:4000", f"{REMOTE}:443", snat=f"{HOST}:4000"), flow("172.18.0.4:4001", "172.18.0.3:80")]
    new = flow("172.18.0.3:4002", f"{REMOTE}:443", snat=f"{HOST}:4002")
    heir = container("heir", "172.18.0.3")
    dumps = Dumps()
    assert dumps.told(both, place(APP, CLI)) == [("MASQUERADED", "app", None), ("INTERNAL", "cli", "app")]
    for _ in range(2):
        assert dumps.told([*both, new], place(CLI, heir)) == [
            ("STALE", "gone: app", None),
            ("STALE", "cli", "gone: app"),
            ("MASQUERADED", "heir", None),
        ]


def test_containers_that_swap_addresses_keep_their_names() -> None:
    """Both stop and start again between two readings, the other one first."""
    flows = [flow(f"172.18.0.{n}:4000", f"{REMOTE}:443", snat=f"{HOST}:400{n}") for n in (3, 4)]
    before, after = (APP, CLI), (container("app", "172.18.0.4"), container("cli", "172.18.0.3"))
    former = {"172.18.0.3": "app", "172.18.0.4": "cli"}
    dumps = Dumps()
    assert dumps.told(flows, place(*before)) == [("MASQUERADED", "app", None), ("MASQUERADED", "cli", None)]
    for _ in range(2):
        told = dumps.told(flows, place(*after, former=former))
        assert told == [("STALE", "gone: app", None), ("STALE", "gone: cli", None)]


def test_a_container_that_started_again_between_two_readings() -> None:
    """It has its address and its name again, but not its connections."""
    old, new = (flow(f"172.18.0.3:{port}", f"{REMOTE}:443", snat=f"{HOST}:{port}") for port in (4000, 4001))
    dumps = Dumps()
    first = replace(APP, started_at="2026-01-05T07:00:00Z")
    assert dumps.told([old], place(first), at=BORN - 60) == [("MASQUERADED", "app", None)]
    for at in (BORN + 1, BORN + 2):
        told = dumps.told([old, new], place(replace(APP, started_at=STARTED)), at)
        assert told == [("STALE", "gone: app", None), ("MASQUERADED", "app", None)]


@pytest.mark.parametrize(
    ("seen_at", "expected"), [(BORN - 60, ("STALE", "gone: app", None)), (BORN + 1, ("MASQUERADED", "heir", None))]
)
def test_flows_first_seen_while_nobody_had_the_address(seen_at: float, expected: Parties) -> None:
    """They are the next owner's where it may have started already when they were seen; what was known stays."""
    old, new = (flow(f"172.18.0.3:{port}", f"{REMOTE}:443", snat=f"{HOST}:{port}") for port in (4000, 4001))
    former = {"172.18.0.3": "app"}
    dumps = Dumps()
    dumps.told([old], place(APP), seen_at - 2)
    for _ in range(2):
        assert dumps.told([old, new], place(former=former), seen_at) == [("STALE", "gone: app", None)] * 2
    heir = replace(container("heir", "172.18.0.3"), started_at=STARTED)
    for at in (BORN + 2, BORN + 4):
        told = dumps.told([old, new], place(heir, former=former), at)
        assert told == [("STALE", "gone: app", None), expected]


def test_an_entry_made_anew_in_the_place_of_a_stale_one() -> None:
    """Once that is deleted the sender's next packet makes one with the same id, which leads elsewhere."""
    called, heir = (f"{REMOTE}:4000", f"{HOST}:5300"), container("heir", "172.18.0.9")
    stale, anew = (flow(*called, dnat=f"{address}:53", proto=UDP) for address in ("172.18.0.3", "172.18.0.9"))
    dumps, former = Dumps(), {"172.18.0.3": "app"}
    assert dumps.told([stale], place(APP)) == [("PUBLISHED", None, "app")]
    assert dumps.told([stale], place(heir, former=former)) == [("STALE", None, "gone: app")]
    assert dumps.told([anew], place(heir, former=former)) == [("PUBLISHED", None, "heir")]


def test_a_container_seen_after_its_flows_is_their_owner() -> None:
    out = flow("172.18.0.3:4000", f"{REMOTE}:443", snat=f"{HOST}:4000")
    dumps = Dumps()
    assert dumps.told([out], place()) == [("FORWARDED", None, None)]
    assert dumps.told([out], place(APP)) == [("MASQUERADED", "app", None)]


JOINER = container("joiner", network_mode=f"container:{APP.id}")


def shared(*sockets: Socket) -> Mapping[str, Sockets]:
    return {APP.id: Sockets(diag.answers(sockets), {3: f"/docker/{APP.id}", 4: f"/docker/{JOINER.id}"}, {})}


OURS = flow("172.18.0.3:4000", f"{REMOTE}:443", snat=f"{HOST}:4000")
THEIRS = flow("172.18.0.3:4001", f"{REMOTE}:443", snat=f"{HOST}:4001")
SERVED = flow("172.18.0.4:4002", "172.18.0.3:7000")
OPEN = (
    connected("172.18.0.3:4000", f"{REMOTE}:443", cgroup=3),
    connected("172.18.0.3:4001", f"{REMOTE}:443", cgroup=4, inode=2),
    listening("0.0.0.0:7000", cgroup=4, inode=3),
)
SPLIT = [("MASQUERADED", "app", None), ("MASQUERADED", "joiner", None), ("INTERNAL", "cli", "joiner")]


def test_a_shared_namespace_is_split() -> None:
    dumps, flows, all_three = Dumps(), [OURS, THEIRS, SERVED], (APP, CLI, JOINER)
    assert dumps.told(flows, place(*all_three, shared=shared(*OPEN))) == SPLIT
    assert dumps.told(flows, place(*all_three, shared=shared())) == SPLIT, "remembered"
    assert dumps.told(flows, place(*all_three)) == SPLIT, "where the sockets were not read"
    assert dumps.told(flows, place(*all_three, WEB)) == SPLIT, "also when others come"
    without = Dumps().told(flows, place(*all_three, shared=shared()))
    assert without == [SPLIT[0], SPLIT[0], ("INTERNAL", "cli", "app")]


def test_a_joined_container_that_is_gone() -> None:
    dumps = Dumps()
    dumps.told([OURS, THEIRS], place(APP, CLI, JOINER, shared=shared(*OPEN)))
    told = dumps.told([OURS, THEIRS], place(APP, CLI))
    assert told == [("MASQUERADED", "app", None), ("STALE", "gone: joiner", None)]


def test_one_that_joined_a_container_on_the_host_s_network() -> None:
    """Its sockets are the host's, and once it has stopped they are those of one who is gone."""
    guest = container("guest", network_mode=f"container:{EDGE.id}")
    found = held([connected(f"{HOST}:41000", f"{REMOTE}:443", cgroup=5)])
    sockets = replace(found, cgroups={5: f"/docker/{guest.id}"})
    dumps = Dumps()
    assert dumps.told([OUT], place(EDGE, guest, sockets=sockets)) == [("HOST", "guest", None)]
    assert dumps.told([OUT], place(EDGE, guest, sockets=held([]))) == [("HOST", "guest", None)], "closed, but it runs"
    stopped = replace(guest, state="exited")
    assert dumps.told([OUT], place(EDGE, stopped, sockets=held([]))) == [("STALE", "gone: guest", None)]


def test_who_joined_one_that_joined_another() -> None:
    last = container("last", network_mode=f"container:{JOINER.id}")
    both = {APP.id: Sockets(diag.answers(OPEN), {3: f"/docker/{APP.id}", 4: f"/docker/{last.id}"}, {})}
    table, containers = plain.table([THEIRS]), (APP, JOINER, last)
    told = Flows(table, attribute(table, place(*containers, shared=both)), containers)
    assert (told.client(0), told.network(0)) == ("last", APP.networks[0].network)


def test_a_recreated_container_that_others_join() -> None:
    """Those that remember the old one's flows do not give them to the new one, split or not."""
    heir = container("heir", "172.18.0.3")
    guest = container("guest", network_mode=f"container:{heir.id}")
    dumps = Dumps()
    dumps.told([OURS], place(APP))
    assert dumps.told([OURS], place(guest, heir)) == [("STALE", "gone: app", None)]


def test_the_network_of_a_joined_container_s_flow() -> None:
    table = plain.table([THEIRS])
    containers = (APP, JOINER)
    attribution = attribute(table, place(*containers, shared=shared(*OPEN)))
    assert Flows(table, attribution, containers).network(0) == APP.networks[0].network


@pytest.mark.parametrize("mode", ["none", "host"])
def test_who_joins_what_is_not_in_the_table_is_not_either(mode: str) -> None:
    alone = container("alone", network_mode=mode)
    guest = container("guest", network_mode=f"container:{alone.id}")
    taken = observed(sample([], containers=[alone, guest]))
    assert [each.flows is None for each in taken.containers] == [mode == "none"] * 2


@given(st.lists(st.sampled_from([OURS, SERVED, OUT, INTO, *HALVES]), max_size=12), st.integers(0, 2**32))
def test_the_order_of_a_table_does_not_matter(flows: list[Flow], seed: int) -> None:
    unique = list(dict.fromkeys(flows))
    where = place(APP, CLI, EDGE, WEB, sockets=proxied(0, 1))
    told = dict(zip(unique, Dumps().told(unique, where), strict=True))
    mixed = list(unique)
    Random(seed).shuffle(mixed)
    assert dict(zip(mixed, Dumps().told(mixed, where), strict=True)) == told


def test_what_comes_in_by_swarm_s_ingress() -> None:
    """Its sandbox is no container; who serves behind it, only its own table tells."""
    into = flow(f"{REMOTE}:4000", f"{HOST}:8080", dnat="172.20.0.2:8080")
    direct, other = (
        flow(f"{HOST}:4001", "172.20.0.2:8080"),
        flow(f"{REMOTE}:4002", f"{HOST}:8081", dnat="172.20.0.9:80"),
    )
    where = place(WEB, ingress=("172.20.0.2", "fd00:20::2"), sockets=held([]))
    dumps = Dumps()
    for _ in range(2):
        assert dumps.told([into, direct, other], where) == [
            ("PUBLISHED", None, "ingress_sbox"),
            ("ROUTED", "host", "ingress_sbox"),
            ("HOST", None, None),
        ]


BRIDGED = (
    Network("1", "shop", "bridge", ("172.18.0.0/16", "2001:db8:18::/64")),
    Network("2", "lan", "macvlan", ("172.19.0.0/16",)),
    Network("3", "docker_gwbridge", "bridge", ("172.20.0.0/16",)),
)


@pytest.mark.parametrize(
    ("leads_to", "expected"),
    [
        ("172.18.0.77", ("STALE", None, "gone: 172.18.0.77")),
        ("172.18.0.78", ("HOST", None, None)),
        ("[2001:db8:18::77]", ("FORWARDED", None, None)),
        ("172.18.0.1", ("HOST", None, None)),
        ("172.19.0.77", ("HOST", None, None)),
        ("172.20.0.2", ("HOST", None, None)),
        ("192.0.2.7", ("HOST", None, None)),
    ],
)
def test_a_mapping_from_before_natop_began_leads_to_nobody(leads_to: str, expected: Parties) -> None:
    called = "[2001:db8::5]" if ":" in leads_to else HOST
    caller = "[2001:db8::9]" if ":" in leads_to else REMOTE
    mapped = flow(f"{caller}:5140", f"{called}:514", proto=UDP, dnat=f"{leads_to}:514")
    unanswered = ("172.18.0.77", "172.18.0.1", "172.19.0.77", "172.20.0.2", "192.0.2.7")
    ends = dead_ends(BRIDGED, unanswered)
    where = replace(place(WEB, dead_ends=ends), host_addresses=(*HOST_ADDRESSES, "172.18.0.1"))
    assert Dumps().told([mapped], where) == [expected]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("172.18.0.77", ("STALE", "gone: 172.18.0.77", None)),
        ("172.18.0.78", ("FORWARDED", None, None)),
        ("172.18.0.1", ("HOST", None, None)),
        ("172.19.0.77", ("FORWARDED", None, None)),
        ("172.20.0.2", ("FORWARDED", None, None)),
        ("192.0.2.7", ("FORWARDED", None, None)),
    ],
)
def test_answers_to_one_who_is_gone_lead_to_nobody(source: str, expected: Parties) -> None:
    called = flow(f"{source}:5140", f"{REMOTE}:443", snat=f"{HOST}:5140")
    ends = dead_ends(BRIDGED, ("172.18.0.77", "172.18.0.1", "172.19.0.77", "172.20.0.2", "192.0.2.7"))
    where = replace(place(WEB, dead_ends=ends), host_addresses=(*HOST_ADDRESSES, "172.18.0.1"))
    assert Dumps().told([called], where) == [expected]


def test_who_calls_without_snat_is_not_known_to_have_been_a_container() -> None:
    calls = flow("172.18.0.77:5140", f"{REMOTE}:514", proto=UDP)
    assert Dumps().told([calls], place(dead_ends=dead_ends(BRIDGED, ["172.18.0.77"]))) == [("FORWARDED", None, None)]


def test_a_caller_s_address_is_the_next_owner_s_once_that_is_known() -> None:
    dumps, new = Dumps(), replace(container("web", "172.18.0.77"), started_at="1970-01-01T00:00:05Z")
    called = flow("172.18.0.77:5140", f"{REMOTE}:443", snat=f"{HOST}:5140")
    ends = dead_ends(BRIDGED, ["172.18.0.77"])
    assert dumps.told([], place(dead_ends=ends), 4.0) == []
    assert dumps.told([called], place(dead_ends=ends), 6.0) == [("STALE", "gone: 172.18.0.77", None)]
    assert dumps.told([called], place(new, dead_ends=ends), 8.0) == [("MASQUERADED", "web", None)]


def test_whom_arp_finds_is_somebody_though_no_container() -> None:
    """As a virtual machine on Docker's bridge; an entry that is not complete is of nobody."""
    entries = {"172.18.0.76": "0x2", "172.18.0.77": "0x0", "172.18.0.78": "0x6", "172.18.0.79": "0x4"}
    lines = (f"{address}  0x1  {flags}  02:42:ac:12:00:4d  *  br-1\n" for address, flags in entries.items())
    assert unanswered("".join(("IP address  HW type  Flags  HW address  Mask  Device\n", *lines))) == {
        "172.18.0.77",
        "172.18.0.79",
    }


@pytest.mark.parametrize(
    "text",
    ["", "IP address", "IP\n172.18.0.77\n172.18.0.77 0x1 zz 02:42 * br-1\n\n", "IP\nnobody 0x1 0x0 02:42 * br-1"],
)
def test_an_arp_table_that_cannot_be_read_misses_nobody(text: str) -> None:
    assert unanswered(text) == frozenset()


def test_what_is_called_without_dnat_is_not_known_to_have_been_a_container() -> None:
    called = flow(f"{REMOTE}:5140", "172.18.0.77:514", proto=UDP)
    assert Dumps().told([called], place(dead_ends=dead_ends(BRIDGED, ["172.18.0.77"]))) == [("FORWARDED", None, None)]


def test_a_container_whose_start_was_not_known_yet_gets_its_first_flows_back() -> None:
    dumps, new = Dumps(), replace(container("web", "172.18.0.77"), started_at="1970-01-01T00:00:05Z")
    mapped = flow(f"{REMOTE}:5140", f"{HOST}:514", proto=UDP, dnat="172.18.0.77:514")
    ends = dead_ends(BRIDGED, ["172.18.0.77"])
    assert dumps.told([], place(dead_ends=ends), 4.0) == []
    assert dumps.told([mapped], place(dead_ends=ends), 6.0) == [("STALE", None, "gone: 172.18.0.77")]
    assert dumps.told([mapped], place(new, dead_ends=ends), 8.0) == [("PUBLISHED", None, "web")]
