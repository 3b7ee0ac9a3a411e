"""The demo's hosts in trouble, on the real kernel: what the verdict says there, and that its remedy ends the trouble.

The judges of what the kernel lost and holds are `conntrack -S` and `conntrack -L`.
"""

import json
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from tests.kernel import product

pytestmark = pytest.mark.kernel

STARTER = (
    "import sys; from natop.demo.run import run;"
    " sys.exit(run(('-c', sys.argv[2]), program=(sys.executable,), scene=sys.argv[1]))"
)
INSIDE = """
import json, re, subprocess, sys, time

def failed():
    told = subprocess.run(["conntrack", "-S"], capture_output=True, text=True, check=True).stdout
    return sum(map(int, re.findall(r"insert_failed=(\\d+)", told)))

def table(state):
    told = subprocess.run(["conntrack", "-L", "-p", "tcp"], capture_output=True, text=True, check=True).stdout
    return told.count(f" {state} ")

def doctor(seconds):
    command = [sys.executable, "-m", "natop", "doctor", "--for", str(seconds), "--format", "json"]
    before = failed()
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return told | {"lost": failed() - before}

"""


def in_scene(name: str, script: str) -> Any:
    """What the script prints as JSON, run as natop would be on the demo's host."""
    code = INSIDE + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-c", STARTER, name, code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def finding(told: Any, rule: str) -> Any:
    return next((each for each in told["findings"] if each["rule"] == rule), None)


def test_a_race_is_named_its_remedy_applied_as_printed_and_the_losses_stop() -> None:
    before, applied, after, undone = in_scene(
        "race",
        """
        for _ in range(5):
            before = doctor(8)
            races = [each for each in before["findings"] if each["rule"] == "snat-race"]
            if races:  # else the machine was too busy for two of its processes at one instant
                break
        remedy = races[0]["remedies"][0]
        applied = [subprocess.run(["sh", "-c", each]).returncode for each in remedy["commands"]]
        time.sleep(1)
        after = doctor(8)
        applied += [subprocess.run(["sh", "-c", each]).returncode for each in remedy["undo"]]
        tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout
        print(json.dumps([before, applied, after, tables]))
        """,
    )
    assert before["lost"] > 0
    race = finding(before, "snat-race")
    assert race is not None
    assert finding(before, "nat-port-exhaustion") is None
    lost = int(race["summary"].partition(" new connection")[0].split()[-1])
    assert 0 < lost <= before["lost"]
    assert any("→ not exhaustion" in each for each in race["evidence"])
    assert applied == [0] * (len(race["remedies"][0]["commands"]) + len(race["remedies"][0]["undo"]))
    assert after["lost"] == 0
    assert finding(after, "snat-race") is None
    assert after["verdict"]["severity"] is None
    assert "natop_random" not in undone


def test_on_one_cpu_nothing_races_and_the_demo_says_so() -> None:
    done = product.natop(None, "demo", "race", "snapshot", by=("taskset", "--cpu-list", "0"))
    assert (done.returncode, done.stdout) == (3, "")
    assert "needs 2 CPUs" in done.stderr
    assert "natop demo exhaustion" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_a_full_pool_is_exhaustion_and_never_a_race() -> None:
    told = in_scene("exhaustion", "print(json.dumps(doctor(8)))")
    full = finding(told, "nat-port-exhaustion")
    assert full is not None
    assert full["severity"] == "critical"
    assert full["subject"] == "198.18.1.1 → 198.18.1.2:443/tcp"
    assert finding(told, "snat-race") is None
    assert told["lost"] > 0


def test_time_wait_by_itself_is_harmless() -> None:
    before, told, after = in_scene(
        "timewait",
        """
        ends = time.monotonic() + 60
        while table("TIME_WAIT") < 1_500 and time.monotonic() < ends:
            time.sleep(0.5)
        print(json.dumps([table("TIME_WAIT"), doctor(5), table("TIME_WAIT")]))
        """,
    )
    waiting = finding(told, "time-wait-buildup")
    assert waiting is not None
    count = int(waiting["summary"].split()[0].replace(",", ""))
    assert 1_000 <= 0.9 * min(before, after) <= count <= 1.1 * max(before, after)
    assert waiting["severity"] == "info"
    assert "harmless" in waiting["summary"]
    assert told["lost"] == 0
    assert told["verdict"]["severity"] is None
