"""Probes on threads, with connects played by the test; and names looked up within a time."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from natop.collect import names, probe
from natop.collect.prober import OWN_KEPT_S, Connections, Manners, Prober
from natop.collect.schedule import Schedule
from natop.model import Aim, OwnFlow, ProbeError, ProbePath, ProbeResult, ProbeWay

pytestmark = pytest.mark.slow

EVERY_S = 0.05
PATIENCE_S = 60.0
"""For what must happen, on a machine however slow."""


def prober(at_once: int = 256) -> Prober:
    return Prober(Manners(EVERY_S), schedule=Schedule(EVERY_S, 1_000.0, at_once))


def aim(number: int, ways: int = 1) -> Aim:
    host = f"192.0.2.{number % 250 + 1}"
    return Aim(
        f"{host}:{number}", tuple(ProbeWay(ProbePath.HOST, f"{host}:{number}", host, 1 + way) for way in range(ways))
    )


class Connects:
    """In place of `probe.timed`: notes which ways were called; those that hang do until they are let go."""

    def __init__(self) -> None:
        self.calls: list[ProbeWay] = []
        self.hanging: set[str] = set()
        self.most_at_once = self._at_once = 0
        self._let_go = False
        self._changed = threading.Condition()

    def timed(self, way: ProbeWay, _address: names.Address, *, opened: Any, **_manners: object) -> ProbeResult:
        with self._changed:
            self.calls.append(way)
            own = OwnFlow("192.0.2.254", len(self.calls), way.host, way.port)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        opened(own)
        with self._changed:
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._let_go or way.target not in self.hanging)
            self._at_once -= 1
        return ProbeResult(way.target, way.path, time.time(), connect_ms=1.0, own=own)

    def let_go(self) -> None:
        with self._changed:
            self._let_go = True
            self._changed.notify_all()

    def until(self, so: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(so, PATIENCE_S)

    def of(self, target: str) -> int:
        return sum(way.target == target for way in self.calls)


@pytest.fixture
def connects(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connects]:
    played = Connects()
    monkeypatch.setattr(probe, "timed", played.timed)
    yield played
    played.let_go()


@pytest.mark.usefixtures("connects")
def test_rounds_asked_for_are_all_and_no_more() -> None:
    with closing(prober()) as some:
        some.aim([aim(1), aim(2, ways=3)], rounds=2)
        some.wait()
        assert len(some.take()) == 2 + 6
        assert some.take() == ()


def test_the_ways_of_a_round_are_called_at_once(connects: Connects) -> None:
    connects.hanging = {aim(1).key}
    with closing(prober()) as some:
        some.aim([aim(1, ways=5)], rounds=1)
        connects.until(lambda: connects.most_at_once == 5)


def test_targets_that_hang_delay_nobody_and_are_not_called_again(connects: Connects) -> None:
    slow, fast = [aim(number) for number in range(50)], [aim(number) for number in range(50, 100)]
    connects.hanging = {each.key for each in slow}
    with closing(prober()) as some:
        some.aim([*slow, *fast], rounds=3)
        connects.until(lambda: sum(connects.of(each.key) for each in fast) == 150)
        assert {connects.of(each.key) for each in fast} == {3}
        connects.until(lambda: sum(connects.of(each.key) for each in slow) == 50)
        assert {connects.of(each.key) for each in slow} == {1}
        connects.let_go()
        some.wait()
    assert {connects.of(each.key) for each in slow} == {3}


def test_only_so_many_connects_are_under_way(connects: Connects) -> None:
    hanging = [aim(number, ways=2) for number in range(4)]
    connects.hanging = {each.key for each in hanging}
    with closing(prober(at_once=4)) as some:
        some.aim(hanging, rounds=1)
        connects.until(lambda: len(connects.calls) == 4)
        connects.let_go()
        some.wait()
    assert (len(connects.calls), connects.most_at_once) == (8, 4)


def test_what_is_aimed_at_later_is_called_and_what_no_longer_is_not(connects: Connects) -> None:
    with closing(prober()) as some:
        some.aim([aim(1)])
        connects.until(lambda: connects.of(aim(1).key) >= 2)
        some.aim([aim(2)])
        before = connects.of(aim(1).key)
        connects.until(lambda: connects.of(aim(2).key) >= 3)
    assert connects.of(aim(1).key) <= before + 1, "one may have been on its way"


def test_closing_begins_nothing_more(connects: Connects) -> None:
    some = prober()
    some.aim([aim(1)])
    connects.until(lambda: len(connects.calls) >= 2)
    some.close()
    some._thread.join(PATIENCE_S)
    assert not some._thread.is_alive(), "the only one that begins rounds"


def test_own_flows_are_told_while_they_are_under_way_and_after(connects: Connects) -> None:
    connects.hanging = {aim(1).key}
    with closing(prober()) as some:
        some.aim([aim(1), aim(2)], rounds=1)
        connects.until(lambda: len(connects.calls) == 2)
        assert {each.dst for each in some.own()} == {"192.0.2.2", "192.0.2.3"}
        connects.let_go()
        some.wait()
        assert len(some.own()) == 2


def test_own_flows_are_told_for_as_long_as_conntrack_may_hold_them() -> None:
    first, second = OwnFlow("192.0.2.254", 1, "192.0.2.1", 80), OwnFlow("192.0.2.254", 2, "192.0.2.1", 80)
    own = Connections(timeout_s=10.0)
    own.note(first, 100.0)
    own.note(second, 100.0)
    own.note(second, 110.0)
    assert own.known(110.0) == (first, second)
    assert own.known(100.0 + OWN_KEPT_S + 9.9) == (first, second)
    assert own.known(110.0 + OWN_KEPT_S + 9.9) == (second,), "from its end on"
    assert own.known(110.0 + OWN_KEPT_S + 10.0) == ()


def test_an_error_nobody_foresaw_is_a_failed_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> ProbeResult:
        raise ZeroDivisionError("odd\x1b[31m")

    monkeypatch.setattr(probe, "timed", broken)
    with closing(prober()) as some:
        some.aim([aim(1)], rounds=1)
        some.wait()
        (result,) = some.take()
    assert result.error is not None
    assert result.error.startswith("ZeroDivisionError: odd")
    assert "\x1b" not in result.error


def test_a_defect_that_ends_all_probing_is_told_to_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Schedule) -> None:
        raise ZeroDivisionError("odd\x1b[31m")

    with closing(prober()) as some:
        assert some.gap() is None
        monkeypatch.setattr(Schedule, "next", fail)
        some.aim([aim(1)], rounds=1)
        with pytest.raises(ZeroDivisionError):
            some.wait()
        gap = some.gap()
    assert gap is not None
    assert (gap.source, gap.reason) == ("probes", "a defect of natop: ZeroDivisionError: odd\ufffd[31m")
    assert gap.remedy is not None
    assert "prober.py" in gap.remedy


def test_without_threads_probes_fail_and_probing_goes_on(connects: Connects, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(prober()) as some:

        class NoThread:
            def __init__(self, **_: object) -> None: ...

            def start(self) -> None:
                raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading, "Thread", NoThread)
            some.aim([aim(1)], rounds=1)
            some.wait()
        assert [each.error for each in some.take()] == ["no thread to be had"]
        some.aim([aim(2)], rounds=1)
        some.wait()
        assert [each.error for each in some.take()] == [None]
    assert len(connects.calls) == 1


# Names


@pytest.mark.parametrize(
    ("host", "family", "place"),
    [
        ("127.0.0.1", socket.AF_INET, ("127.0.0.1", 80)),
        ("::1", socket.AF_INET6, ("::1", 80, 0, 0)),
    ],
)
def test_literal_addresses_are_not_looked_up(
    host: str, family: int, place: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "Thread", None)
    assert names.resolve(host, 80, 1.0) == names.Address(socket.AddressFamily(family), place)


def looked_up(
    monkeypatch: pytest.MonkeyPatch, *answers: tuple[Any, ...] | Exception, held: threading.Event | None = None
) -> None:
    """Play the resolver, which answers when `held` is set: literal addresses are none of its business."""

    def getaddrinfo(_host: str, _port: int, *, type: int, flags: int) -> list[tuple[Any, ...]]:
        assert type == socket.SOCK_STREAM
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        if held:
            held.wait()
        found: list[tuple[Any, ...]] = []
        for each in answers:
            if isinstance(each, Exception):
                raise each
            found.append((socket.AF_INET6 if ":" in each[0] else socket.AF_INET, 1, 6, "", each))
        return found

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_a_name_is_called_by_ipv4_where_it_has_that(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up(monkeypatch, ("2001:db8::7", 80, 0, 0), ("198.51.100.7", 80), ("198.51.100.8", 80))
    assert names.resolve("example.org", 80, PATIENCE_S).place == ("198.51.100.7", 80)
    looked_up(monkeypatch, ("2001:db8::7", 80, 0, 0))
    assert names.resolve("example.org", 80, PATIENCE_S).place == ("2001:db8::7", 80, 0, 0)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (socket.gaierror(socket.EAI_NONAME, "not known"), ProbeError.UNKNOWN_HOST),
        (socket.gaierror(socket.EAI_AGAIN, "try again"), ProbeError.UNRESOLVED),
        (UnicodeError("label too long"), ProbeError.UNKNOWN_HOST),
    ],
)
def test_a_name_without_an_address_says_why(
    error: Exception, said: ProbeError, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up(monkeypatch, error)
    with pytest.raises(names.Unresolved) as caught:
        names.resolve("example.org", 80, PATIENCE_S)
    assert caught.value.error == said


def test_a_name_server_that_hangs_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    held = threading.Event()
    looked_up(monkeypatch, ("198.51.100.7", 80), held=held)
    with pytest.raises(names.Unresolved) as caught:
        names.resolve("example.org", 80, 0.1)
    held.set()
    assert caught.value.error == ProbeError.UNRESOLVED


def test_all_ways_of_a_round_call_what_one_lookup_told(connects: Connects, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = names.resolve

    def resolve(host: str, port: int, timeout_s: float) -> names.Address:
        asked.append(host)
        if host == "no.example":
            raise names.Unresolved(ProbeError.UNKNOWN_HOST)
        return real("192.0.2.1", port, timeout_s)

    monkeypatch.setattr(names, "resolve", resolve)
    ways = tuple(ProbeWay(path, "x", "name.example", 80) for path in (ProbePath.HOST, ProbePath.NETNS))
    lost = tuple(ProbeWay(path, "y", "no.example", 80) for path in (ProbePath.HOST, ProbePath.NETNS))
    with closing(prober()) as some:
        some.aim([Aim("x", ways), Aim("y", lost)], rounds=1)
        some.wait()
        errors = [each.error for each in some.take()]
    assert sorted(asked) == ["name.example", "no.example"]
    assert sorted(error or "" for error in errors) == ["", "", "unknown host", "unknown host"]
    assert len(connects.calls) == 2


def test_what_is_measured_can_be_had_while_others_are_waited_for(connects: Connects) -> None:
    connects.hanging = {aim(2).key}
    with closing(prober()) as some:
        some.aim([aim(1), aim(2)], rounds=1)
        waiting = threading.Thread(target=some.wait, daemon=True)
        waiting.start()
        taken = soon(some.take)
        assert [each.target for each in taken] == [aim(1).key]
        assert waiting.is_alive()
        connects.let_go()
        waiting.join(PATIENCE_S)
        assert not waiting.is_alive()


def soon(take: Callable[[], tuple[ProbeResult, ...]]) -> tuple[ProbeResult, ...]:
    """The first results that there are."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if taken := take():
            return taken
        time.sleep(0.01)
    raise AssertionError("no results")
