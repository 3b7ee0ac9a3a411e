"""What each command loads: starting fast, and never the screen without a screen."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.sides import document

pytestmark = pytest.mark.slow

HEAVY = ("docker", "lark", "msgspec", "numpy", "psutil", "pyroute2", "requests", "rich", "textual", "textual_plot")


def loaded(code: str) -> set[str]:
    """Which of HEAVY a fresh interpreter has loaded after `code`."""
    script = f"import sys\n{code}\nprint(*(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return set(run.stderr.split())


def after(*arguments: str) -> set[str]:
    """What `natop ARGUMENTS` has loaded when it ends."""
    return loaded(f"from natop import cli\nassert cli._run({list(arguments)!r}) == 0")


def test_the_command_line_alone_loads_nothing() -> None:
    assert loaded("import natop.cli") == set()


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("snapshot", "--help"), ("diff", "--help")])
def test_answers_without_a_reading_load_nothing(arguments: tuple[str, ...]) -> None:
    assert after(*arguments) == set()


def test_a_snapshot_loads_no_screen_no_docker_and_no_grammar() -> None:
    assert not after("snapshot", "--no-docker") & {"docker", "lark", "requests", "rich", "textual", "textual_plot"}


def test_a_filter_loads_the_grammar_and_still_no_screen() -> None:
    found = after("-b", "-n", "1", "--no-docker", "--filter", "web")
    assert "lark" in found
    assert not found & {"docker", "rich", "textual"}


def test_a_comparison_of_files_loads_nothing_that_could_reach_the_host(tmp_path: Path) -> None:
    file = tmp_path / "natop.json"
    file.write_text(json.dumps(document()))
    found = after("diff", str(file), str(file))
    assert not found & {"docker", "lark", "psutil", "pyroute2", "requests", "rich", "textual", "textual_plot"}


def test_an_engine_loads_the_sdk_and_still_no_screen() -> None:
    found = after("snapshot", "--docker-host", "unix:///nowhere/d.sock")
    assert "docker" in found
    assert not found & {"lark", "rich", "textual"}


@pytest.mark.parametrize("module", ["natop.observe", "natop.export.snapshots"])
def test_what_is_pure_loads_nothing_that_could_reach_the_host(module: str) -> None:
    assert not loaded(f"import {module}") & {"docker", "psutil", "pyroute2", "requests", "rich", "textual", "lark"}


def test_a_call_from_inside_a_namespace_loads_no_netlink_library() -> None:
    script = """
from natop.collect.prober import Manners, Prober
from natop.model import Aim, ProbePath, ProbeWay

prober = Prober(Manners())
prober.aim([Aim("x", (ProbeWay(ProbePath.NETNS, "127.0.0.1:1", "127.0.0.1", 1, netns="/nowhere/x"),))], rounds=1)
prober.wait()
assert [each.error for each in prober.take()] == ["namespace gone"]
"""
    assert not loaded(script) & {"docker", "pyroute2", "requests"}
