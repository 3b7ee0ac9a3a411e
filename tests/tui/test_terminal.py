"""The command on a real terminal: how it starts, what it refuses, how it ends."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from natop.tui import terminal as guards
from tests.tui.emulator import NATOP, Environment, Terminal, terminal

LIVE = (*NATOP, "--no-docker")
ALTERNATE_ON, ALTERNATE_OFF = b"\x1b[?1049h", b"\x1b[?1049l"
MOUSE_OFF, CURSOR_ON = b"\x1b[?1003l", b"\x1b[?25h"


def is_live(screen: Terminal) -> bool:
    return "conntrack" in screen.lines[2] and "CONTAINER" in screen.text and "(host)" in screen.text


def is_restored(screen: Terminal) -> bool:
    """Whether the terminal is as the shell left it."""
    last = max(screen.raw.rfind(ALTERNATE_ON), 0)
    return all(screen.raw.find(switch, last) > 0 for switch in (ALTERNATE_OFF, MOUSE_OFF, CURSOR_ON))


def prompts_again(screen: Terminal) -> bool:
    """Whether the shell waits for a line since the alternate screen was left: what is typed sooner may be flushed."""
    left, entered = screen.raw.rfind(ALTERNATE_OFF), screen.raw.rfind(ALTERNATE_ON)
    return left > entered and b"prompt>" in screen.raw[left:]


def is_drawn_anew(screen: Terminal) -> bool:
    """Whether the picture has come since the alternate screen was entered for the second time."""
    return screen.raw.count(ALTERNATE_ON) == 2 and b"(host)" in screen.raw[screen.raw.rfind(ALTERNATE_ON) :]


def shell(command: str) -> tuple[str, str, str]:
    return ("/bin/sh", "-c", command)


@pytest.mark.parametrize("key", ["q", "\x03"])
def test_quitting_leaves_the_terminal_as_it_was(key: str) -> None:
    with terminal(LIVE) as screen:
        screen.until(is_live).type(key)
        assert screen.wait() == 0
        assert is_restored(screen)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_restores_the_terminal(number: signal.Signals) -> None:
    with terminal(LIVE) as screen:
        screen.until(is_live).kill(number)
        assert screen.wait() == 128 + number
        assert is_restored(screen)


def test_a_terminal_that_goes_away_ends_it() -> None:
    with terminal(LIVE) as screen:
        screen.until(is_live).hang_up()
        assert screen.wait() == 128 + signal.SIGHUP


def test_a_terminal_that_goes_away_without_a_signal_ends_it() -> None:
    """The kernel signals the leader of the session alone: here one that waits, as make does."""
    waits = shell(f"trap '' HUP; {shlex.join(LIVE)}; exit $?")
    with terminal(waits) as screen:
        screen.until(is_live).hang_up()
        assert screen.wait() == 128 + signal.SIGHUP


def test_a_terminal_that_takes_nothing_more_does_not_keep_it() -> None:
    """As over a line that is dead: the view waits to be drawn, and ends all the same."""
    with terminal(LIVE) as screen:
        screen.until(is_live)
        for key in "12" * 100:
            screen.type(key)  # each view is some kilobytes that nobody reads
            time.sleep(0.1)
        screen.kill(signal.SIGTERM)
        assert screen.ends_unread() == 128 + signal.SIGTERM


def test_bytes_that_are_no_text_are_no_keys() -> None:
    """As a terminal of another encoding sends, or an old mouse."""
    with terminal(LIVE) as screen:
        screen.until(is_live).type_bytes(b"\xe4\xff\x1b[M \xc8!2")
        screen.until(lambda shown: "FLOWS▼" not in shown.text or "no flows" in shown.text).type("q")
        assert screen.wait() == 0
        assert b"Error" not in screen.raw


def test_suspending_gives_the_terminal_back_until_fg() -> None:
    with terminal(("/bin/bash", "--norc", "-i"), environment={"PS1": "prompt> "}) as screen:
        screen.until(lambda shown: "prompt>" in shown.text).type(shlex.join(LIVE) + "\n")
        screen.until(is_live).type("\x1a")
        screen.until(prompts_again)
        assert b"Stopped" in screen.raw
        assert is_restored(screen)
        screen.type("fg\n")
        screen.until(is_drawn_anew).type("q")
        screen.until(prompts_again).type("exit\n")
        assert screen.raw.count(ALTERNATE_OFF) == 2
        assert screen.wait() == 0


BROKEN = """
import importlib, sys
from natop.cli import main

def fail(*_, **__):
    raise ZeroDivisionError("a broken screen")

module, screen, method = sys.argv.pop(1).split()
setattr(getattr(importlib.import_module(f"natop.tui.{module}"), screen), method, fail)
main()
"""
"""natop with one method of a screen that raises."""


@pytest.mark.parametrize(
    ("broken", "keys"),
    [
        ("containers ContainersScreen on_screen_resume", ""),
        ("help HelpScreen compose", "?"),
        ("flows FlowsScreen on_mount", "\r"),
        ("flows FlowsScreen body", "2"),
        ("flows FlowsScreen on_screen_suspend", "21"),
        ("trends TrendsScreen show", "t"),
    ],
)
def test_a_screen_that_fails_ends_it_with_the_reason(broken: str, keys: str) -> None:
    with terminal((sys.executable, "-c", BROKEN, broken, "--no-docker")) as screen:
        if keys:
            screen.until(is_live).type(keys)
        screen.until(lambda shown: "ZeroDivisionError: a broken screen" in shown.text, 60)
        assert screen.wait() == 1
        assert is_restored(screen)


@pytest.mark.parametrize(
    ("command", "environment", "why"),
    [
        (LIVE, {"TERM": "dumb"}, "TERM is dumb"),
        (LIVE, {"TERM": None}, "TERM is not set"),
        (shell(f"{shlex.join(LIVE)} </dev/null"), {}, "stdin is none"),
        (shell(f"{shlex.join(LIVE)} | cat; exit ${{PIPESTATUS:-2}}"), {}, "stdout is none"),
    ],
)
def test_where_it_cannot_live_it_says_so(command: tuple[str, ...], environment: Environment, why: str) -> None:
    with terminal(command, environment=environment) as screen:
        assert screen.wait() == 2
        assert why in screen.text.replace("\n", " ")
        assert "natop snapshot" in screen.text.replace("\n", " ")
        assert b"\x1b" not in screen.raw


@pytest.mark.parametrize(
    ("options", "status"), [(("--docker-host", "unix:///x", "--context", "x"), 2), (("--context", "x"), 3)]
)
def test_an_engine_that_cannot_be_meant_is_refused_before_the_first_picture(
    options: tuple[str, ...], status: int, tmp_path: Path
) -> None:
    with terminal((*NATOP, *options), environment={"DOCKER_CONFIG": str(tmp_path)}) as screen:
        assert screen.wait() == status
        assert screen.text.startswith("natop: ")
        assert b"\x1b" not in screen.raw


def test_a_redirected_stderr_is_refused_in_one_line(tmp_path: os.PathLike[str]) -> None:
    with terminal(shell(f"{shlex.join(LIVE)} 2>{tmp_path}/log")) as screen:
        assert screen.wait() == 2
    with open(f"{tmp_path}/log", encoding="utf-8") as log:
        text = log.read()
    assert text.startswith("natop: the live view needs a terminal, and stderr is none")
    assert "\x1b" not in text


def test_a_refusal_does_not_load_textual() -> None:
    code = "import sys; from natop.tui.terminal import *; refusal(); prepare({}); print('textual' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"


def test_no_color_means_none_and_the_cursor_is_seen() -> None:
    with terminal(LIVE, environment={"NO_COLOR": "1"}) as screen:
        screen.until(is_live)
        for part in (b"\x1b[38;", b";38;2;", b"\x1b[48;", b";48;2;"):
            assert part not in screen.raw
        cursor = screen.style_of("(host)")
        assert (cursor.fg, cursor.bg, cursor.reverse) == ("default", "default", True)


@pytest.mark.parametrize("term", ["xterm", "linux", "screen"])
def test_sixteen_colours_are_the_terminals_own(term: str) -> None:
    with terminal(LIVE, environment={"TERM": term, "COLORTERM": None}) as screen:
        screen.until(is_live)
        assert b"38;2;" not in screen.raw
        assert b"38;5;" not in screen.raw
        assert screen.style_of("(host)").reverse
        assert screen.style_of("drop").bg == "default"


NO_LOCALE: Environment = {"LC_ALL": None, "LC_CTYPE": None, "LANG": None}


@pytest.mark.parametrize(
    "environment",
    [
        NO_LOCALE,
        {**NO_LOCALE, "LANG": "C"},
        {"LC_ALL": "POSIX"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
)
def test_a_terminal_without_utf8_gets_ascii(environment: Environment) -> None:
    with terminal(LIVE, environment=environment) as screen:
        screen.until(is_live)
        assert screen.raw.isascii()
        assert "\\u" not in screen.text


@pytest.mark.parametrize("environment", [{**NO_LOCALE, "LC_CTYPE": "C.UTF-8"}, {**NO_LOCALE, "LANG": "xx_YY.UTF-8"}])
def test_a_terminal_with_utf8_gets_all_characters(environment: Environment) -> None:
    with terminal(LIVE, environment=environment) as screen:
        screen.until(is_live)
        assert "─" in screen.text
    with terminal((*LIVE, "--ascii"), environment=environment) as screen:
        screen.until(is_live)
        assert screen.raw.isascii()


@pytest.mark.parametrize("environment", [{}, {"COLUMNS": "80", "LINES": "24"}])
def test_resizing_is_followed(environment: Environment) -> None:
    with terminal(LIVE, environment=environment) as screen:
        screen.until(is_live).resize(120, 40)
        screen.until(lambda shown: "counters" in shown.text and shown.lines[-1].startswith(" ?"))
        screen.resize(40, 10)
        screen.until(lambda shown: "conntrack" in shown.lines[2] and shown.lines[-1].startswith(" ?"))
        screen.type("q")
        assert screen.wait() == 0


def test_an_idle_screen_sends_no_more_than_its_age() -> None:
    with terminal((*LIVE, "--interval", "60")) as screen:
        screen.until(is_live)
        screen.watch(1.0)
        before = len(screen.raw)
        screen.watch(3.0)
        assert len(screen.raw) - before < 4 * 400, "one short line a second"


def test_the_environment_is_set_right() -> None:
    environment = {"TERM": "xterm-kitty", "COLUMNS": "80", "LINES": "24"}
    guards.prepare(environment)
    assert environment == {"TERM": "xterm-kitty", "COLORTERM": "truecolor"}
    for settled in ({"TERM": "xterm"}, {"TERM": "foot", "COLORTERM": "24bit"}):
        before = settled.copy()
        guards.prepare(settled)
        assert settled == before


def test_a_target_is_typed_in_one_go_and_one_of_the_configuration_is_there_from_the_start(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[probe]\ntargets = ["127.0.0.1:1"]\n')
    with terminal((*LIVE, "--interval", "0.5", "--config", f"{tmp_path}/config.toml"), 160, 50) as screen:
        screen.until(lambda shown: "(host)" in shown.text, 60).type("4a127.0.0.1:2\r")
        screen.until(lambda shown: "probing" in shown.lines[0] and "refused" in shown.text, 60)
        screen.until(lambda shown: all(f" 127.0.0.1:{port} " in shown.text for port in (1, 2)), 60)
        screen.type("q")
        assert screen.wait() == 0
