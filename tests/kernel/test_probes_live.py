"""The live view on a terminal while half of its hundred targets hang, judged by the screen and the kernel's table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from natop.collect.schedule import EVERY_S, MOST_PER_S
from tests.kernel.probenet import OUTSIDE, Net, rules
from tests.lab import oracle
from tests.tui.emulator import NATOP, Terminal, terminal

ANSWERING, HANGING = range(7000, 7050), range(7050, 7100)
ADDED = 7100
HANGS_S = 10.0
"""natop's own patience with a target."""
PROMPT_S = 4.0
"""Much less than that, and more than a busy machine takes for a key."""
SIZE = (120, 40)
ESCAPE = "\x1b"


@pytest.fixture
def half_dead(net: Net) -> Net:
    """A world outside of which half the ports say nothing; its flows are dated, and stay longer than the test."""
    net.listen(*ANSWERING, ADDED)
    rules(net.outside, "input", f"tcp dport {HANGING.start}-{HANGING.stop - 1} drop")
    net.router.sysctl("net.netfilter.nf_conntrack_timestamp", 1)
    net.router.sysctl("net.netfilter.nf_conntrack_tcp_timeout_close", 600)
    return net


@contextmanager
def watching(net: Net, folder: Path) -> Iterator[Terminal]:
    """natop's view of probes in the router's namespace, all hundred being its targets."""
    config = folder / "config.toml"
    targets = ", ".join(f'"{OUTSIDE}:{port}"' for port in (*ANSWERING, *HANGING))
    config.write_text(f"interval = 0.5\nno_docker = true\n[probe]\ntargets = [{targets}]\n")
    with terminal(net.router.enter(*NATOP, "--config", str(config)), *SIZE) as screen:
        screen.until(lambda shown: "(host)" in shown.text).type("4")
        yield screen.until(lambda shown: "100 ways" in shown.text)


def hanging(net: Net) -> int:
    """Targets that hang now: SYNs without an answer."""
    return sum(flow["state"] == "SYN_SENT" for flow in oracle.flows(net.router))


def answered_s(screen: Terminal, keys: str, so: Callable[[Terminal], object]) -> float:
    """How long the screen takes to be so after these keys."""
    assert not so(screen), f"before {keys!r}"
    pressed = time.monotonic()
    screen.type(keys)
    screen.until(so, HANGS_S)
    return time.monotonic() - pressed


def all_are_shown(screen: Terminal, number: int) -> bool:
    return f"{number} ways" in screen.text and f"of {number} ways" not in screen.text


def test_keys_are_answered_while_fifty_targets_hang(half_dead: Net, tmp_path: Path) -> None:
    with watching(half_dead, tmp_path) as screen:
        screen.until(lambda _: hanging(half_dead) >= len(HANGING), 60)
        taken = {
            what: answered_s(screen, keys, so)
            for what, keys, so in (
                ("filter", f"/{ANSWERING[7]}", lambda shown: "1 of 100 ways" in shown.text),
                ("no filter", ESCAPE, lambda shown: all_are_shown(shown, 100)),
                ("end", "G", lambda shown: f"{OUTSIDE}:{HANGING[-1]}" in shown.text),
                ("counters", "5", lambda shown: "SINCE" in shown.text),
                ("help", "?", lambda shown: " Keys" in shown.text),
                ("no help", ESCAPE, lambda shown: " Keys" not in shown.text),
                ("probes", "4", lambda shown: all_are_shown(shown, 100)),
                ("panel", "a", lambda shown: "Probe a target" in shown.text),
                ("target", f"{OUTSIDE}:{ADDED}\r", lambda shown: all_are_shown(shown, 101)),
            )
        }
        assert hanging(half_dead) > len(HANGING) // 2, "they hung all the time"
        assert max(taken.values()) < PROMPT_S, taken
        screen.until(lambda _: str(ADDED) in called(half_dead))
        answered_s(screen, f"/{ADDED}\r", lambda shown: "1 of 101" in shown.text)
        screen.until(lambda shown: any(f":{ADDED}" in line and " 0 " in line for line in shown.lines))
        pressed = time.monotonic()
        screen.type("q")
        assert screen.wait() == 0
        assert time.monotonic() - pressed < HANGS_S, "nobody waits for those that hang"


def called(net: Net) -> dict[str, list[float]]:
    """When each target was called, in seconds, by the kernel's dates."""
    calls: dict[str, list[float]] = {}
    for flow in oracle.flows(net.router):
        calls.setdefault(str(flow["orig"]["dport"]), []).append(flow["started_ns"] / 1e9)
    return {port: sorted(moments) for port, moments in calls.items()}


def test_the_bounds_hold_by_the_kernel_s_dates(half_dead: Net, tmp_path: Path) -> None:
    """Not more at once than one every two seconds for a target, nor than so many a second for all."""
    with watching(half_dead, tmp_path) as screen:
        screen.watch(2.5 * HANGS_S)
    calls = called(half_dead)
    assert {int(port) for port in calls} == {*ANSWERING, *HANGING}
    gaps = [later - earlier for moments in calls.values() for earlier, later in pairwise(moments)]
    assert min(gaps) > EVERY_S - 0.05
    hung = [later - earlier for port in HANGING for earlier, later in pairwise(calls[str(port)])]
    assert hung, "they are called again"
    assert min(hung) > HANGS_S - 0.05, "but not before they have been given up"
    everything = sorted(moment for moments in calls.values() for moment in moments)
    for window_s in (5.0, 10.0):
        most = max(sum(start <= moment < start + window_s for moment in everything) for start in everything)
        assert most <= MOST_PER_S * window_s * 1.1
    assert len(everything) > 200
    assert screen.status is None
