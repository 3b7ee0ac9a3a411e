"""A healthy host at 2,000 new connections a second through MASQUERADE: nothing to say above info.

It watches for 20 s; NATOP_BUSY_S=120 has it watch for two minutes. Half of the connections end by FIN, so that their
entries stay in TIME_WAIT, and half by RST; others stay open and are asked on. What was reached is printed (`-s`).
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.kernel import product
from tests.kernel.faulthost import ADDRESSES, FAR, FAR_TOO, FaultHost, quiet
from tests.lab import oracle
from tests.lab.netns import Namespace, wait_until

SECONDS = float(os.environ.get("NATOP_BUSY_S", "20"))
PER_SECOND = 2_000
PORTS = list(range(8000, 8008))
ENDS = [[FAR, FAR_TOO], PORTS]
LEAD_S, TAIL_S = 2, 8
"""The traffic goes on for so long before and after natop watches."""
HARMLESS = ("time-wait-buildup", "closing-pile", "clash-resolve")
"""What may be said of such a host, as info."""
Done = dict[str, float]


def command(*told: object) -> list[str]:
    return ["env", f"PYTHONPATH={os.getcwd()}", sys.executable, "-m", "tests.kernel.rush", json.dumps(told)]


def watched(made: FaultHost) -> tuple[product.Row, float]:
    """What `natop doctor` says after so long, and what it cost of one core."""
    options = ["doctor", "--for", str(SECONDS), "--format", "json", "--netns", made.host.name]
    argv = [*product.NATOP, *options, "--docker-host", made.engine.url]
    begun = time.monotonic()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=product.environment()) as natop:
        assert natop.stdout
        text = natop.stdout.read()
        _, status, used = os.wait4(natop.pid, 0)
        natop.returncode = os.waitstatus_to_exitcode(status)
    assert natop.returncode == 0
    return json.loads(text), (used.ru_utime + used.ru_stime) / (time.monotonic() - begun)


def ended(place: Namespace, pid: int) -> None:
    wait_until(lambda: not place.running(pid), timeout_s=90, what="the traffic to end")


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 160)
def test_a_healthy_busy_host(made: FaultHost, tmp_path: Path) -> None:
    server = made.outside.start(*command("serve", *ENDS), log=tmp_path / "server")
    wait_until(lambda: oracle.sockets(made.outside)[0] >= 2 * len(PORTS), timeout_s=30, what="the server to listen")
    share, for_s = PER_SECOND / len(ADDRESSES), LEAD_S + SECONDS + TAIL_S
    callers = {
        made.inside[name].start(*command("call", *ENDS, share, for_s), log=tmp_path / name): name for name in ADDRESSES
    }
    wait_until(lambda: oracle.count(made.host) > PER_SECOND, timeout_s=30, what="traffic")
    told, cost = watched(made)
    counters, entries = oracle.counters(made.host), oracle.count(made.host)
    still_busy = all(made.inside[name].running(pid) for pid, name in callers.items())
    for pid, name in callers.items():
        ended(made.inside[name], pid)
    assert made.outside.running(server)
    done: list[Done] = [json.loads((tmp_path / name).read_text()) for name in ADDRESSES]
    rate = sum(each["opened"] / each["seconds"] for each in done)
    print(
        f"\n{rate:,.0f} new connections a second for {told['watched_s']:.0f} s, {entries:,} entries;"
        f" insert_failed {counters['insert_failed']}, drop {counters['drop']}, found {counters['found']};"
        f" natop {100 * cost:.0f} % of a core; {[each['summary'] for each in told['findings']]}"
    )
    assert still_busy, "natop watched longer than there was traffic"
    assert [each["failed"] for each in done] == [0, 0]
    assert counters["insert_failed"] == counters["drop"] == 0
    assert rate > PER_SECOND / 20
    quiet(told, but=HARMLESS)
