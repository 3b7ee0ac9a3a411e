"""The pace of readings, on a clock of the test's own."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest

from natop import feed
from natop.collect.netns import NoSuchNetns
from natop.feed import CannotRead, LiveFeed, Source, readings
from natop.model import FirewallText, Pace, ProbeResult, Sample, Snapshot
from tests.unit import netlink
from tests.unit.hosts import WEB, sample, tcp_text
from tests.unit.plain import Flow, flow
from tests.unit.rulesets import DOCKER_20, saved


@dataclass
class Clock:
    """Time that passes when someone waits for it or works."""

    now: float = 100.0
    cpu: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds

    def work(self, seconds: float) -> None:
        self.now += seconds
        self.cpu += seconds


@dataclass
class Bell:
    """In place of threading.Event: waiting for it lets the clock run, unless it has been rung."""

    clock: Clock
    rung: bool = False

    def wait(self, seconds: float) -> None:
        if not self.rung:
            self.clock.sleep(seconds)

    def set(self) -> None:
        self.rung = True

    def clear(self) -> None:
        self.rung = False


@dataclass
class Reader:
    """In place of HostReader: TIME_WAIT flows as many as ticks have passed; a dump costs `cost_s`."""

    clock: Clock
    cost_s: float = 0.001
    asked: list[tuple[float, bool, Pace]] = field(default_factory=list)
    closed: bool = False
    patience_s: float | None = None
    failing: bool = False
    once: dict[str, Any] = field(default_factory=dict)
    """What the next sample is told, and no later one."""

    def sample(self, *, dump: bool, pace: Pace) -> Sample:
        if self.failing:
            raise NoSuchNetns("gone")
        self.asked.append((round(self.clock.now, 3), dump, pace))
        flows = self._flows() if dump else None
        counters = netlink.stats_cpu(0, {"drop": int(10 * self.clock.now)})
        told = tcp_text(self.once.pop("sysctls", {}), out_segs=int(10 * self.clock.now))
        taken = sample(
            flows,
            at=self.clock.now,
            containers=(WEB,),
            pace=pace,
            stats=counters,
            tcp={"net:[1]": told},
            members={WEB.id: "net:[1]"},
            rules=self.once.pop("rules", None),
            probes=self.once.pop("probes", ()),
        )
        if dump:
            self.clock.work(self.cost_s)
        return taken

    def _flows(self) -> list[Flow]:
        return [flow(f"10.0.0.1:{n}", "172.18.0.2:80", state=7, id=n) for n in range(int(self.clock.now - 99))]

    def wait_for_answers(self, timeout_s: float) -> None:
        self.patience_s = timeout_s

    def close(self) -> None:
        self.closed = True

    @property
    def dumps(self) -> list[float]:
        return [at for at, dump, _ in self.asked if dump]


@dataclass
class World:
    clock: Clock
    reader: Reader
    source: Source
    followed: list[bool]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    clock = Clock()
    reader = Reader(clock)
    followed: list[bool] = []

    def opened(_: Source, *, follow: bool, **_budget: float) -> Any:
        followed.append(follow)
        return reader

    monkeypatch.setattr(Source, "open", opened)
    monkeypatch.setattr(feed, "time", clock)
    monkeypatch.setattr(feed, "cpu_s", lambda: clock.cpu)
    monkeypatch.setattr(feed, "threading", SimpleNamespace(Event=lambda: Bell(clock)))
    return World(clock, reader, Source(), followed)


def first(live: LiveFeed, count: int) -> Iterator[Snapshot]:
    return islice(iter(live), count)


def paced(taken: Snapshot) -> tuple[float, float]:
    assert taken.pace is not None
    return taken.pace.interval_s, taken.pace.dump_every_s


def test_a_cheap_dump_is_taken_at_every_tick(world: World) -> None:
    live = LiveFeed(world.source, 2.0)
    taken = list(first(live, 4))
    assert world.reader.dumps == [100, 102, 104, 106]
    assert [each.interval_s for each in taken] == [None, 2.0, 2.0, 2.0]
    assert paced(taken[-1]) == pytest.approx((2.0, 2.0))
    assert world.followed == [True]


def test_a_costly_dump_comes_less_often(world: World) -> None:
    """0.5 s of a core every 2 s is 25 %: dumps go down to one in 5 s, counters stay at every tick."""
    world.reader.cost_s = 0.5
    live = LiveFeed(world.source, 2.0)
    taken = list(first(live, 9))
    assert world.reader.dumps == [100, 106, 112]
    assert [at for at, dump, _ in world.reader.asked if not dump] == [102, 104, 106, 108, 110, 112]
    assert paced(taken[-1]) == pytest.approx((2.0, 5.0))


def test_the_cost_is_measured_anew_with_every_dump(world: World) -> None:
    world.reader.cost_s = 0.5
    live = LiveFeed(world.source, 2.0)
    snapshots = iter(live)
    next(snapshots)
    world.reader.cost_s = 0.01
    while live.pace().dump_every_s > 2:
        next(snapshots)
    assert world.reader.dumps == [100, 106]
    list(islice(snapshots, 3))
    assert world.reader.dumps == [100, 106, 108, 110, 112]


def test_the_share_of_a_core_is_kept(world: World) -> None:
    for cost in (0.05, 0.3, 1.0, 4.0):
        world.reader.cost_s = cost
        world.reader.asked.clear()
        live = LiveFeed(world.source, 1.0)
        begun, snapshots = world.clock.now, iter(live)
        while world.clock.now - begun < 30 * max(1.0, cost):
            next(snapshots)
        spent = len(world.reader.dumps) * cost
        assert spent / (world.clock.now - begun) <= feed.SHARE * 1.1


def test_at_a_slow_dump_s_tick_the_counters_come_first(world: World) -> None:
    world.reader.cost_s = 0.5
    live = LiveFeed(world.source, 2.0)
    taken = list(first(live, 5))
    assert [(at, dump) for at, dump, _ in world.reader.asked] == [
        (100, True),
        (102, False),
        (104, False),
        (106, False),
        (106, True),
    ]
    before, quick, whole = taken[2], taken[3], taken[4]
    assert quick.reading is before.reading
    assert whole.reading is not before.reading
    assert (quick.interval_s, whole.interval_s) == (2.0, 2.0)
    assert whole.whole is not None
    assert whole.whole.rates is not None
    assert whole.whole.rates.new == whole.whole.rates.time_wait == 1.0
    assert whole.history.host_trend("time_wait") == (1, 7)


def test_what_is_told_once_is_not_lost_at_a_slow_dump_s_tick(world: World) -> None:
    """Both its snapshots have it, though both are compared with the one before, and so has every later one."""
    world.reader.cost_s = 0.5
    snapshots = iter(LiveFeed(world.source, 2.0))
    list(islice(snapshots, 3))
    result = ProbeResult("198.51.100.7:443", "host", 100.0, connect_ms=0.5, syns_lost=0)
    path = "net/ipv4/tcp_max_tw_buckets"
    world.reader.once = {"sysctls": {path: "512\n"}, "rules": FirewallText(saved(DOCKER_20)), "probes": (result,)}
    quick, whole, later = islice(snapshots, 3)
    assert [dump for _, dump, _ in world.reader.asked[-3:]] == [False, True, False]
    assert world.reader.once == {}
    for each in (quick, whole, later):
        (web,) = each.containers
        assert web.tcp is not None
        assert web.tcp.sysctls == {"tcp_max_tw_buckets": 512}
        assert each.firewall is not None
        assert each.probes is not None
        assert [series.results for series in each.probes] == [(result,)], "once, not once for each snapshot"


def test_a_later_sample_keeps_its_own() -> None:
    """What it was told itself goes before what the earlier one was told; without a wish for probes there are none."""
    one, two = (ProbeResult(name, "host", 100.0, connect_ms=0.5) for name in ("a:1", "b:2"))
    old, new = FirewallText({"old": ""}), FirewallText({"new": ""})
    ports = "net/ipv4/ip_local_port_range"
    tcp = {"net:[1]": tcp_text({ports: "1 2"})}
    first = sample(None, tcp=tcp | {"net:[3]": tcp_text()}, rules=old, probes=(one,))
    told = {"net:[1]": tcp_text({ports: "3 4"}), "net:[2]": tcp_text()}
    both = sample(None, tcp=told, rules=new, probes=(two,)).beside(first)
    assert (dict(both.tcp), both.rules, both.probes) == (told, new, (one, two))
    assert sample(None, tcp=told).beside(first).probes is None


def test_counter_rates_at_a_slow_dump_s_tick_are_over_the_whole_interval(world: World) -> None:
    world.reader.cost_s = 0.5
    live = LiveFeed(world.source, 2.0)
    for later in islice(iter(live), 1, 9):
        assert later.interval_s == 2.0
        assert later.counter_rates == {"drop": 10.0}


def test_read_now_reads_at_once_flows_included(world: World) -> None:
    world.reader.cost_s = 0.5
    live = LiveFeed(world.source, 10.0)
    snapshots = iter(live)
    next(snapshots)
    live.read_now()
    next(snapshots)
    next(snapshots)
    assert [(at, dump) for at, dump, _ in world.reader.asked][1:] == [(100.5, False), (100.5, True)]
    next(snapshots)
    assert world.reader.asked[-1][0] == 110.5


def test_the_interval_may_change_on_the_way(world: World) -> None:
    live = LiveFeed(world.source, 2.0)
    snapshots = iter(live)
    next(snapshots)
    live.interval_s = 0.5
    list(islice(snapshots, 3))
    assert world.reader.dumps == [100, 100.5, 101, 101.5]


def test_a_reading_longer_than_the_interval_is_followed_at_once(world: World) -> None:
    world.reader.cost_s = 0.7
    live = LiveFeed(world.source, 0.5)
    list(first(live, 3))
    assert [at for at, _, _ in world.reader.asked] == [100, 100.7, 101.2]


def test_close_ends_the_iteration_and_the_reader(world: World) -> None:
    live = LiveFeed(world.source, 2.0)
    snapshots = iter(live)
    next(snapshots)
    live.close()
    assert list(snapshots) == []
    assert world.reader.closed
    assert len(world.reader.asked) == 1


def test_a_namespace_that_vanishes_ends_the_feed_with_its_reason(world: World) -> None:
    live = LiveFeed(world.source, 2.0)
    snapshots = iter(live)
    next(snapshots)
    world.reader.failing = True
    with pytest.raises(CannotRead, match="gone"):
        next(snapshots)


def test_readings_are_as_many_as_asked_for_and_evenly_spaced(world: World) -> None:
    world.reader.cost_s = 0.4
    taken = list(readings(world.source, 2.0, 4))
    assert world.reader.dumps == [100, 102, 104, 106]
    assert [each.interval_s for each in taken] == [None, 2.0, 2.0, 2.0]
    assert world.clock.now == pytest.approx(106.4)
    assert (world.reader.closed, world.reader.patience_s) == (True, feed.PATIENCE_S)


def test_readings_that_take_longer_than_their_pace_do_not_pile_up(world: World) -> None:
    world.reader.cost_s = 5.0
    taken = readings(world.source, 2.0, None)
    list(islice(taken, 2))
    world.reader.cost_s = 0.1
    list(islice(taken, 3))
    assert world.reader.dumps == [100, 105, 110, 112, 114]


@pytest.mark.parametrize(("count", "follow"), [(1, False), (2, True), (None, True)])
def test_only_several_readings_follow_the_engine(world: World, count: int | None, follow: bool) -> None:
    list(islice(readings(world.source, 2.0, count), 2))
    assert world.followed == [follow]


def test_readings_close_the_reader_when_nobody_wants_more(world: World) -> None:
    taken = readings(world.source, 2.0, None)
    next(taken)
    taken.close()  # type: ignore[attr-defined]  # it is a generator
    assert world.reader.closed


def test_readings_of_a_namespace_that_is_gone(world: World) -> None:
    world.reader.failing = True
    with pytest.raises(CannotRead, match="gone"):
        next(readings(world.source, 2.0, 1))
    assert world.reader.closed


@pytest.mark.parametrize("name", ["no-such-namespace", "4194399", "/no/such/file", "/etc/passwd"])
def test_an_unknown_namespace_cannot_be_read(name: str) -> None:
    with pytest.raises(CannotRead) as caught:
        Source(name).open(follow=False)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert name in lines[0]
    assert lines[1] == "give --netns a name of `ip netns`, a path or a pid"
