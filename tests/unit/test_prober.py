"""The pace of probes, with connects played by the test; and names looked up within a time."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from typing import Any

import pytest

from natop.collect import names, probe, prober
from natop.collect.prober import Manners, Prober
from natop.model import Aim, OwnFlow, ProbeError, ProbePath, ProbeResult, ProbeWay

pytestmark = pytest.mark.slow

EVERY_S = 0.2


def aim(number: int, ways: int = 1) -> Aim:
    host = f"192.0.2.{number % 250 + 1}"
    return Aim(
        f"{host}:{number}", tuple(ProbeWay(ProbePath.HOST, f"{host}:{number}", host, 1 + way) for way in range(ways))
    )


class Connects:
    """In place of `probe.timed`: notes when each way was called; those that hang do until they are let go."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, ProbeWay]] = []
        self.hanging: set[str] = set()
        self.let_go = threading.Event()
        self._lock = threading.Lock()

    def timed(self, way: ProbeWay, _address: names.Address, *, opened: Any, **_manners: object) -> ProbeResult:
        with self._lock:
            self.calls.append((time.monotonic(), way))
            own = OwnFlow("192.0.2.254", len(self.calls), way.host, way.port)
        opened(own)
        if way.target in self.hanging:
            self.let_go.wait(10)
        return ProbeResult(way.target, way.path, time.time(), connect_ms=1.0, own=own)

    def at(self, target: str) -> list[float]:
        return [at for at, way in self.calls if way.target == target]


@pytest.fixture
def connects(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connects]:
    played = Connects()
    monkeypatch.setattr(probe, "timed", played.timed)
    monkeypatch.setattr(prober, "MOST_PER_S", 1_000.0)
    yield played
    played.let_go.set()


@pytest.mark.usefixtures("connects")
def test_rounds_asked_for_are_all_and_no_more() -> None:
    with closing(Prober(Manners(EVERY_S))) as some:
        some.aim([aim(1), aim(2, ways=3)], rounds=2)
        some.wait()
        assert len(some.take()) == 2 + 6
        assert some.take() == ()


def test_a_target_waits_its_time_and_its_jitter(connects: Connects) -> None:
    with closing(Prober(Manners(EVERY_S))) as some:
        some.aim([aim(1)], rounds=5)
        some.wait()
    waits = [later - earlier for earlier, later in pairwise(connects.at("192.0.2.2:1"))]
    assert len(waits) == 4
    assert all(wait >= EVERY_S * 0.99 for wait in waits), "never sooner"
    assert sum(waits) < 4 * EVERY_S * (1 + prober.JITTER) + 1
    assert len(set(waits)) == 4


def test_the_ways_of_a_round_start_at_once(connects: Connects) -> None:
    with closing(Prober(Manners(EVERY_S))) as some:
        some.aim([aim(1, ways=5)], rounds=1)
        some.wait()
    moments = [at for at, _ in connects.calls]
    assert len(moments) == 5
    assert max(moments) - min(moments) < 0.5


def test_all_targets_together_are_bounded(connects: Connects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prober, "MOST_PER_S", 50.0)
    with closing(Prober(Manners(EVERY_S))) as some:
        some.aim([aim(number, ways=2) for number in range(20)], rounds=1)
        some.wait()
    moments = sorted(at for at, _ in connects.calls)
    assert len(moments) == 40
    assert moments[-1] - moments[0] >= 38 / 50 * 0.99


def test_targets_that_hang_delay_nobody_and_are_not_called_again(connects: Connects) -> None:
    slow, fast = [aim(number) for number in range(50)], [aim(number) for number in range(50, 100)]
    connects.hanging = {each.key for each in slow}
    with closing(Prober(Manners(EVERY_S))) as some:
        some.aim([*slow, *fast], rounds=3)
        deadline = time.monotonic() + 10
        while sum(len(connects.at(each.key)) for each in fast) < 150 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert {len(connects.at(each.key)) for each in fast} == {3}
        assert {len(connects.at(each.key)) for each in slow} == {1}
        connects.let_go.set()
        some.wait()
    assert {len(connects.at(each.key)) for each in slow} == {3}


def test_only_so_many_connects_are_under_way(connects: Connects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prober, "MOST_AT_ONCE", 4)
    hanging = [aim(number, ways=2) for number in range(4)]
    connects.hanging = {each.key for each in hanging}
    with closing(Prober(Manners(EVERY_S))) as some:
        some.aim(hanging, rounds=1)
        time.sleep(0.5)
        assert len(connects.calls) == 4
        connects.let_go.set()
        some.wait()
    assert len(connects.calls) == 8


def test_a_round_wider_than_the_bound_is_called_all_the_same(
    connects: Connects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prober, "MOST_AT_ONCE", 2)
    with closing(Prober(Manners(EVERY_S))) as some:
        some.aim([aim(1, ways=5)], rounds=1)
        some.wait()
    assert len(connects.calls) == 5


def test_what_is_no_longer_aimed_at_is_left_alone_and_the_rest_keeps_its_pace(connects: Connects) -> None:
    with closing(Prober(Manners(EVERY_S))) as some:
        for _ in range(20):
            some.aim([aim(1), aim(2)])
            time.sleep(0.05)
        some.aim([aim(1)])
        stopped = time.monotonic()
        time.sleep(3 * EVERY_S)
    waits = [later - earlier for earlier, later in pairwise(connects.at("192.0.2.2:1"))]
    assert len(waits) >= 4
    assert all(wait >= EVERY_S * 0.99 for wait in waits), "aiming anew is no reason to call sooner"
    assert connects.at("192.0.2.3:2")[-1] <= stopped + 0.05


def test_closing_begins_nothing_more(connects: Connects) -> None:
    some = Prober(Manners(EVERY_S))
    some.aim([aim(1)])
    time.sleep(2 * EVERY_S)
    some.close()
    before = len(connects.calls)
    time.sleep(3 * EVERY_S)
    assert before >= 1
    assert len(connects.calls) <= before + 1
    assert not some._thread.is_alive()


def test_own_flows_are_told_while_they_are_under_way_and_for_a_while_after(
    connects: Connects, monkeypatch: pytest.MonkeyPatch
) -> None:
    connects.hanging = {aim(1).key}
    with closing(Prober(Manners(EVERY_S))) as some:
        some.aim([aim(1), aim(2)], rounds=1)
        deadline = time.monotonic() + 5
        while len(some.own()) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert {each.dst for each in some.own()} == {"192.0.2.2", "192.0.2.3"}
        connects.let_go.set()
        some.wait()
        assert len(some.own()) == 2
        monkeypatch.setattr(prober, "OWN_KEPT_S", -100.0)
        assert some.own() == ()


def test_an_error_nobody_foresaw_is_a_failed_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> ProbeResult:
        raise ZeroDivisionError("odd\x1b[31m")

    monkeypatch.setattr(probe, "timed", broken)
    with closing(Prober(Manners(EVERY_S))) as some:
        some.aim([aim(1)], rounds=1)
        some.wait()
        (result,) = some.take()
    assert result.error is not None
    assert result.error.startswith("ZeroDivisionError: odd")
    assert "\x1b" not in result.error


def test_without_threads_probes_fail_and_probing_goes_on(connects: Connects, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Prober(Manners(EVERY_S))) as some:

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


def looked_up(monkeypatch: pytest.MonkeyPatch, *answers: tuple[Any, ...] | Exception, wait_s: float = 0.0) -> None:
    """Play the resolver: literal addresses are none of its business."""

    def getaddrinfo(_host: str, _port: int, *, type: int, flags: int) -> list[tuple[Any, ...]]:
        assert type == socket.SOCK_STREAM
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        time.sleep(wait_s)
        found: list[tuple[Any, ...]] = []
        for each in answers:
            if isinstance(each, Exception):
                raise each
            found.append((socket.AF_INET6 if ":" in each[0] else socket.AF_INET, 1, 6, "", each))
        return found

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_a_name_is_called_by_ipv4_where_it_has_that(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up(monkeypatch, ("2001:db8::7", 80, 0, 0), ("198.51.100.7", 80), ("198.51.100.8", 80))
    assert names.resolve("example.org", 80, 1.0).place == ("198.51.100.7", 80)
    looked_up(monkeypatch, ("2001:db8::7", 80, 0, 0))
    assert names.resolve("example.org", 80, 1.0).place == ("2001:db8::7", 80, 0, 0)


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
        names.resolve("example.org", 80, 1.0)
    assert caught.value.error == said


def test_a_name_server_that_hangs_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up(monkeypatch, ("198.51.100.7", 80), wait_s=1.0)
    started = time.monotonic()
    with pytest.raises(names.Unresolved) as caught:
        names.resolve("example.org", 80, 0.1)
    assert caught.value.error == ProbeError.UNRESOLVED
    assert time.monotonic() - started < 0.8


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
    with closing(Prober(Manners(EVERY_S))) as some:
        some.aim([Aim("x", ways), Aim("y", lost)], rounds=1)
        some.wait()
        errors = [each.error for each in some.take()]
    assert sorted(asked) == ["name.example", "no.example"]
    assert sorted(error or "" for error in errors) == ["", "", "unknown host", "unknown host"]
    assert len(connects.calls) == 2


def test_what_is_measured_can_be_had_while_others_are_waited_for(connects: Connects) -> None:
    connects.hanging = {aim(2).key}
    with closing(Prober(Manners(EVERY_S))) as some:
        some.aim([aim(1), aim(2)], rounds=1)
        waiting = threading.Thread(target=some.wait, daemon=True)
        waiting.start()
        time.sleep(0.3)
        assert waiting.is_alive()
        assert [each.target for each in some.take()] == [aim(1).key]
        connects.let_go.set()
        waiting.join(5)
        assert not waiting.is_alive()
