"""The numbers of each container, of what is unowned and of the whole table, and how they change."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.model import TREND_LENGTH, UNOWNED, Attachment, Container, FlowSummary, Kind, PortChoice, Snapshot
from natop.observe import observe
from natop.summarise.summaries import Setting, summarise
from tests.unit import plainpools
from tests.unit.hosts import APP, CONTAINERS, DB, EDGE, WEB, container, observed, sample
from tests.unit.oracle import STATES, History
from tests.unit.plain import DST_NAT, SCTP, SRC_NAT, TCP, UDP, Ends, Flow, flow

TIME_WAIT = 7


def between(client: str, server: str, number: int, state: int | None = 3) -> Flow:
    return flow(f"{client}:{10000 + number}", f"{server}:80", state=state, id=number)


def summary(taken: Snapshot, described: Container) -> FlowSummary:
    found = next(each.flows for each in taken.containers if each.container.id == described.id)
    assert found is not None
    return found


def trend(taken: Snapshot, described: Container) -> tuple[int, ...]:
    return taken.history.trends("time_wait")[described.id]


def directions(taken: Snapshot) -> dict[str, tuple[int | None, int | None]]:
    return {each.container.name: (each.inbound, each.outbound) for each in taken.containers}


def test_a_flow_between_two_containers_counts_once_in_each() -> None:
    taken = observed(sample([between("172.18.0.3", "172.18.0.2", 1)], containers=CONTAINERS))
    assert directions(taken) == {"app": (0, 1), "db": (0, 0), "edge": (0, 0), "web": (1, 0)}
    assert [summary(taken, each).counts.total for each in CONTAINERS] == [1, 0, 0, 1]
    assert taken.whole is not None
    assert taken.whole.counts.total == 1
    assert taken.unowned is not None
    assert taken.unowned.counts.total == 0


def test_a_container_with_itself_is_counted_once() -> None:
    hairpin = flow("172.18.0.2:40000", "203.0.113.10:8080", dnat="172.18.0.2:80", snat="172.18.0.1:40000")
    taken = observed(sample([hairpin], containers=CONTAINERS))
    counts = summary(taken, WEB).counts
    assert directions(taken)["web"] == (1, 1)
    assert (counts.total, counts.states["ESTABLISHED"], counts.kinds["HAIRPIN"]) == (1, 1, 1)
    assert (counts.dnat, counts.snat, counts.protocols) == (1, 1, {"tcp": 1})


def test_every_state_and_kind_is_there_and_only_protocols_that_occur() -> None:
    taken = observed(sample([flow("172.18.0.3:1", "198.51.100.7:53", proto=UDP)], containers=CONTAINERS))
    counts = summary(taken, APP).counts
    assert counts.states == dict.fromkeys(STATES, 0)
    assert counts.kinds == dict.fromkeys((kind.name for kind in Kind), 0) | {"ROUTED": 1}
    assert counts.protocols == {"udp": 1}
    assert summary(taken, DB).counts.protocols == {}


def test_tcp_without_a_state_counts_in_none() -> None:
    """Offloaded flows tell no state; a state that natop does not know has no name."""
    flows = [between("172.18.0.3", "172.18.0.2", 1, None), between("172.18.0.3", "172.18.0.2", 2, 99)]
    counts = summary(observed(sample(flows, containers=CONTAINERS)), WEB).counts
    assert (counts.total, sum(counts.states.values()), counts.protocols) == (2, 0, {"tcp": 2})


def test_the_states_of_other_protocols_are_not_tcp_s() -> None:
    before = replace(between("172.18.0.3", "172.18.0.2", 1), proto=SCTP)
    after = replace(before, state=TIME_WAIT)
    taken = observed(sample([before], containers=CONTAINERS), sample([after], at=1, containers=CONTAINERS))
    found = summary(taken, WEB)
    assert trend(taken, WEB) == (0, 0)
    assert found.counts.states["TIME_WAIT"] == 0
    assert found.rates is not None
    assert found.rates.time_wait == 0


def test_a_first_dump_has_no_rates() -> None:
    taken = observed(sample([between("172.18.0.3", "172.18.0.2", 1)], containers=CONTAINERS))
    assert taken.whole is not None
    assert taken.whole.rates is None
    assert summary(taken, WEB).rates is None
    assert trend(taken, WEB) == (0,)


def test_rates_are_what_came_and_went_over_the_time_between_dumps() -> None:
    before = [between("172.18.0.3", "172.18.0.2", number) for number in range(6)]
    after = [*before[2:], *(between("172.18.0.3", "172.18.0.2", number, TIME_WAIT) for number in range(10, 18))]
    taken = observed(sample(before, containers=CONTAINERS), sample(after, at=4, containers=CONTAINERS))
    for found in (summary(taken, WEB), summary(taken, APP), taken.whole):
        assert found is not None
        assert found.rates is not None
        assert (found.rates.new, found.rates.gone, found.rates.time_wait) == (2.0, 0.5, 2.0)
    rates = summary(taken, DB).rates
    assert rates is not None
    assert (rates.new, rates.gone, rates.time_wait) == (0, 0, 0)


def test_time_wait_shrinks_as_a_negative_rate() -> None:
    waiting = [between("172.18.0.3", "172.18.0.2", number, TIME_WAIT) for number in range(6)]
    taken = observed(sample(waiting, containers=CONTAINERS), sample(waiting[:2], at=2, containers=CONTAINERS))
    rates = summary(taken, WEB).rates
    assert rates is not None
    assert (rates.new, rates.gone, rates.time_wait) == (0, 2.0, -2.0)


def test_a_container_that_appears_has_rates_from_its_second_dump_on() -> None:
    flows = [between("172.18.0.3", "172.18.0.2", 1)]
    first = sample(flows, containers=(APP,))
    second = sample(flows, at=1, containers=(APP, WEB))
    taken = observed(first, second)
    assert summary(taken, WEB).rates is None
    assert trend(taken, WEB) == (0,)
    assert summary(taken, APP).rates is not None
    assert summary(observed(first, second, sample(flows, at=2, containers=(APP, WEB))), WEB).rates is not None


def test_a_container_that_vanished_begins_anew_when_it_comes_back() -> None:
    flows = [between("172.18.0.3", "172.18.0.2", 1, TIME_WAIT)]
    both, one = (APP, WEB), (APP,)
    present = [both, both, one, both]
    taken = observed(*(sample(flows, at=at, containers=some) for at, some in enumerate(present)))
    assert trend(taken, WEB) == (0,), "its flow is one of before"
    assert trend(taken, APP) == (1, 1, 1, 1)
    assert summary(taken, APP).counts.kinds["STALE"] == 1


def test_a_container_that_changes_its_name_keeps_its_past() -> None:
    flows = [between("172.18.0.3", "172.18.0.2", 1, TIME_WAIT)]
    renamed = container("www", "172.18.0.2", id=WEB.id)
    taken = observed(sample(flows, containers=(WEB,)), sample(flows, at=1, containers=(APP, renamed)))
    assert trend(taken, renamed) == (1, 1)


def test_the_same_dump_for_other_containers_keeps_rates_and_trends() -> None:
    flows = [between("172.18.0.3", "172.18.0.2", number, TIME_WAIT) for number in range(4)]
    first, second = sample(flows[:2], containers=(APP,)), sample(flows, at=2, containers=(APP,))
    taken = observed(first, second, sample(None, at=4, containers=(APP, WEB)))
    found = summary(taken, APP)
    assert found.rates is not None
    assert (found.rates.new, trend(taken, APP)) == (1.0, (2, 4))
    appeared = summary(taken, WEB)
    assert (appeared.counts.total, appeared.rates, trend(taken, WEB)) == (4, None, ())
    assert taken.whole is not None
    assert taken.history.host_trend("time_wait") == (2, 4)


def test_a_port_that_gave_way_without_a_rule_is_rewritten_and_no_choice_of_a_rule_s() -> None:
    """As of a container on the host's network: a null binding moved its port."""
    flows = [flow(f"172.18.0.3:{n}", "198.51.100.7:443", snat=f"203.0.113.10:{n + n % 2}", id=n) for n in range(5, 9)]
    reading = observed(sample(flows, containers=(APP,))).reading
    assert reading is not None
    kind = np.full(4, Kind.MASQUERADED, np.uint8)
    kind[2] = Kind.REMAPPED
    attribution = replace(reading.attribution, kind=kind)
    (app,) = summarise(replace(reading, attribution=attribution), Setting((APP,)), None).containers
    assert (app.rewritten_ports, app.port_choice) == (2, PortChoice(2, 1))


def test_a_trend_is_no_longer_than_it_may_be() -> None:
    taken: Snapshot | None = None
    for at in range(TREND_LENGTH + 5):
        flows = [between("172.18.0.3", "172.18.0.2", number, TIME_WAIT) for number in range(at)]
        taken = observe(taken, sample(flows, at=at, containers=(WEB,)))
    assert taken is not None
    assert trend(taken, WEB) == tuple(range(5, TREND_LENGTH + 5))


# Against a plain loop over any sequence of samples

Told = tuple[Container | None, Container | None, Kind]
ADDRESSES = ("172.18.0.2", "172.18.0.3", "172.19.0.4", "203.0.113.10", "198.51.100.7")


@st.composite
def ticks(draw: st.DrawFn) -> list["Tick"]:
    """An entry's tuples stay what they are as long as its id and its client do."""
    found, at = [], 0.0
    known: dict[tuple[int, str], Flow] = {}
    for _ in range(draw(st.integers(1, 4))):
        at += draw(st.sampled_from((0.5, 2.0, 7.0)))
        ids = draw(st.lists(st.integers(1, 9), max_size=9, unique=True))
        some = tuple(each for each in (APP, DB, EDGE, WEB) if draw(st.booleans()))
        flows = None if draw(st.integers(0, 3)) == 0 else [_again(draw(entries(number)), known) for number in ids]
        found.append(Tick(at, some, flows))
    return found


def _again(drawn: Flow, known: dict[tuple[int, str], Flow]) -> Flow:
    """The same entry as before where there was one, in its present state."""
    first = known.setdefault((drawn.id, drawn.orig.src), drawn)
    return replace(first, state=drawn.state if first.proto == TCP else None)


@dataclass(frozen=True)
class Tick:
    at: float
    containers: tuple[Container, ...]
    flows: list[Flow] | None


@st.composite
def entries(draw: st.DrawFn, number: int) -> Flow:
    src, dst, answers, seen_as = (draw(st.sampled_from(ADDRESSES)) for _ in range(4))
    proto = draw(st.sampled_from((TCP, TCP, UDP)))
    return Flow(
        orig=Ends(src, dst, 1000 + number, 80),
        reply=Ends(answers, seen_as, 80, 1000 + number + draw(st.sampled_from((0, 0, 20)))),
        proto=proto,
        state=draw(st.sampled_from((None, 1, 3, 7, 8, 99))) if proto == TCP else None,
        status=8 | draw(st.sampled_from((0, SRC_NAT, DST_NAT, SRC_NAT | DST_NAT))),
        id=number,
    )


@dataclass
class Plain:
    """What is expected of one key: a container's id, "unowned" or "whole"."""

    flows: list[Flow]
    kinds: list[Kind]
    rates: tuple[float, float, float] | None = None
    trend: list[int] = field(default_factory=list)

    @property
    def waiting(self) -> int:
        return sum(each.proto == TCP and each.state == TIME_WAIT for each in self.flows)


def groups(flows: list[Flow], told: list[Told], containers: Sequence[Container]) -> dict[str, Plain]:
    found = {key: Plain([], []) for key in (*(each.id for each in containers), "unowned", "whole")}
    for one, (client, server, kind) in zip(flows, told, strict=True):
        owners = {each.id for each in (client, server) if each} or {"unowned"}
        for owner in (*owners, "whole"):
            found[owner].flows.append(one)
            found[owner].kinds.append(kind)
    return found


@given(ticks())
def test_any_sequence_of_samples_equals_a_plain_loop(sequence: list[Tick]) -> None:
    taken: Snapshot | None = None
    last: list[Flow] | None = None
    last_at = 0.0
    past: dict[str, Plain] = {}
    history = History()
    for tick in sequence:
        drawn = sample(tick.flows, at=tick.at, containers=tick.containers)
        taken = observe(taken, drawn)
        flows = last if tick.flows is None else tick.flows
        told = history.judged(flows or [], tick.containers, tuple(drawn.addresses))
        if flows is None:
            assert (taken.whole, taken.unowned) == (None, None)
            assert all(each.flows is None for each in taken.containers)
            continue
        now = groups(flows, told, tick.containers)
        for key, expected in now.items():
            earlier = past.get(key)
            if tick.flows is None:
                expected.rates = earlier.rates if earlier else None
                expected.trend = earlier.trend if earlier else []
                continue
            expected.trend = [*(earlier.trend if earlier else []), expected.waiting]
            if earlier is not None and last is not None:
                expected.rates = _rates(earlier, expected, last, flows, tick.at - last_at)
        if tick.flows is not None:
            last, last_at = tick.flows, tick.at
        past = now
        _check(taken, now, told)


def _rates(
    earlier: Plain, now: Plain, flows_before: list[Flow], flows: list[Flow], seconds: float
) -> tuple[float, float, float]:
    ids_before, ids = {each.id for each in flows_before}, {each.id for each in flows}
    new = sum(each.id not in ids_before for each in now.flows)
    gone = sum(each.id not in ids for each in earlier.flows)
    return new / seconds, gone / seconds, (now.waiting - earlier.waiting) / seconds


def _check(taken: Snapshot, expected: dict[str, Plain], told: list[Told]) -> None:
    assert taken.whole is not None
    assert taken.unowned is not None
    found: dict[str, FlowSummary] = {"whole": taken.whole, "unowned": taken.unowned}
    for each in taken.containers:
        assert each.flows is not None
        found[each.container.id] = each.flows
        assert each.outbound == sum(client is not None and client.id == each.container.id for client, _, _ in told)
        assert each.inbound == sum(server is not None and server.id == each.container.id for _, server, _ in told)
        opened = [
            (one, kind)
            for one, (client, _, kind) in zip(expected["whole"].flows, told, strict=True)
            if client is not None and client.id == each.container.id
        ]
        by_rule = [one for one, kind in opened if plainpools.ruled(one, kind)]
        moved = sum(plainpools.moved(one) for one in by_rule)
        assert each.port_choice == PortChoice(len(by_rule) - moved, moved)
        assert each.rewritten_ports == sum(plainpools.moved(one) for one, _ in opened)
    assert found.keys() == expected.keys()
    trends = taken.history.trends("time_wait")
    trends |= {"whole": taken.history.host_trend("time_wait"), "unowned": trends[UNOWNED]}
    for key, want in expected.items():
        counts, rates = found[key].counts, found[key].rates
        numbers = [one.state for one in want.flows if one.proto == TCP and one.state is not None]
        states = Counter(STATES[number] for number in numbers if number < len(STATES))
        kinds = Counter(kind.name for kind in want.kinds)
        assert counts.total == len(want.flows)
        assert counts.states == dict.fromkeys(STATES, 0) | states
        assert counts.kinds == dict.fromkeys((kind.name for kind in Kind), 0) | kinds
        assert counts.protocols == Counter({TCP: "tcp", UDP: "udp"}[one.proto] for one in want.flows)
        assert counts.dnat == sum(bool(one.status & DST_NAT) for one in want.flows)
        assert counts.snat == sum(bool(one.status & SRC_NAT) for one in want.flows)
        assert (rates and (rates.new, rates.gone, rates.time_wait)) == want.rates
        assert list(trends[key]) == want.trend


# Where the namespace read is not the engine's host's

BRIDGED = tuple(
    replace(each, networks=tuple(replace(place, gateway=gateway) for place in each.networks))
    for each, gateway in ((APP, "172.18.0.1"), (WEB, "172.18.0.1"), (container("lone", "172.20.0.2"), "172.20.0.1"))
)
SIDECAR = container("sidecar", network_mode=f"container:{WEB.id}")
LAN = replace(container("lan", "192.0.2.7"), networks=(Attachment("lan", "macvlan", "192.0.2.7", gateway="192.0.2.1"),))
DESCRIBED = (*BRIDGED, SIDECAR, EDGE, LAN)
BY_NAME = {each.name: each for each in DESCRIBED}


@pytest.mark.parametrize(
    ("addresses", "known"),
    [
        pytest.param(("127.0.0.1", "203.0.113.10", "172.18.0.1", "172.20.0.1"), "app web lone sidecar edge", id="host"),
        pytest.param(("203.0.113.10", "172.20.0.1"), "app web lone sidecar edge", id="host, one bridge down"),
        pytest.param(("172.18.0.1", "172.18.0.2"), "app web lone sidecar edge", id="host with a container's address"),
        pytest.param(("127.0.0.1", "172.18.0.2", "::1"), "web sidecar", id="a container's"),
        pytest.param(("127.0.0.1", "fd00:18::2"), "web sidecar", id="a container's, by IPv6"),
        pytest.param(("127.0.0.1", "192.0.2.7"), "lan", id="a container's that the host does not track"),
        pytest.param(("127.0.0.1", "10.255.0.2", "172.18.0.9"), "", id="swarm's ingress"),
        pytest.param((), "", id="none, or unknown ones"),
    ],
)
def test_none_is_0_only_where_a_container_s_flows_would_pass(addresses: tuple[str, ...], known: str) -> None:
    setting = Setting(DESCRIBED, addresses=addresses)
    assert {name for name, each in BY_NAME.items() if each.id in setting.passing()} == set(known.split())


def test_without_a_known_gateway_a_namespace_is_taken_for_the_host_s() -> None:
    assert Setting(CONTAINERS, addresses=("10.255.0.2",)).passing() == {each.id for each in CONTAINERS}


def test_in_another_namespace_what_does_not_pass_is_unknown_and_what_is_there_is_counted() -> None:
    """Read from the sandbox of swarm's ingress: one container has a flow there, the others' are elsewhere."""
    ingress = ("127.0.0.1", "10.255.0.2")
    flows = [between("198.51.100.7", "172.18.0.2", 1)]
    taken = observed(sample(flows, containers=DESCRIBED, addresses=ingress))
    unknown = (None, None)
    assert directions(taken) == dict.fromkeys(BY_NAME, unknown) | {"web": (1, 0)}
    assert [each.container.name for each in taken.containers if each.flows is not None] == ["web"]
    assert taken.whole is not None
    assert taken.whole.counts.total == 1
    gone = observe(taken, sample([], at=2, containers=DESCRIBED, addresses=ingress))
    assert directions(gone) == dict.fromkeys(BY_NAME, unknown), "none is left, and whether it has others is unknown"


def test_a_container_s_own_namespace_tells_its_own_numbers() -> None:
    taken = observed(sample([], containers=DESCRIBED, addresses=("127.0.0.1", "172.18.0.2")))
    assert directions(taken) == dict.fromkeys(BY_NAME, (None, None)) | {"web": (0, 0), "sidecar": (0, 0)}
