"""A healthy host at 2,000 new connections a second for two minutes: nothing to say above info, at no moment.

Its containers call out through MASQUERADE and one of them is called through a published port, by connections for one
request and by such that are kept. nginx answers, wrk calls.

The host is healthy by construction. At this rate conntrack's TIME_WAIT of 120 s would come to 240,000 entries, which
is a full table in earnest, so it is shorter here. No two containers call the same end, so that they cannot race for a
port of NAT, and each has several, so that no pool fills. The sockets' own TIME_WAIT of 60 s cannot be shortened:
there is room for it, and ports in it are used again.
"""

import json
import os
import statistics
import subprocess
import time
from pathlib import Path

import pytest

from tests.kernel import product, rush
from tests.kernel.faulthost import ADDRESSES, FAR, FAR_TOO, OUTSIDE, WEB_PORT, FaultHost, Told, grave, quiet, rules
from tests.kernel.rush import Load
from tests.lab import oracle
from tests.lab.netns import wait_until

SECONDS, EVERY_S = 120, 2
PORTS, KEPT_PORT = range(8000, 8004), 8100
MEANT_PER_S = 2_000
ENOUGH_PER_S = 1_500
"""Fewer are no busy host. The pace is kept beside two processes that take all they can get of two CPUs."""
TIME_WAIT_S = 15
SETTINGS: dict[str, int | str] = {
    "net.ipv4.tcp_max_tw_buckets": 262_144,
    "net.ipv4.tcp_tw_reuse": 1,
    "net.ipv4.ip_local_port_range": "10000 65535",
}
HARMLESS = {"blind-spots", "time-wait-buildup", "closing-pile", "clash-resolve"}
"""What may be said of such a host, as info."""


def loads(made: FaultHost) -> list[Load]:
    """Three fifths of the new connections through MASQUERADE, two through the published port; and kept ones."""
    app, web, published = made.inside["app"], made.inside["web"], (OUTSIDE, WEB_PORT)
    return [
        *(Load(app, (FAR, port), 150) for port in PORTS),
        *(Load(web, (FAR_TOO, port), 150) for port in PORTS),
        *(Load(made.outside, published, 400) for _ in range(2)),
        Load(app, (FAR, KEPT_PORT), 200, kept=True),
        Load(made.outside, published, 200, kept=True),
    ]


def opened(made: FaultHost) -> int:
    """Connections that have been begun, as each caller's own kernel counts them."""
    return sum(oracle.tcp_counters(place)["active_opens"] for place in (*made.inside.values(), made.outside))


def watched(made: FaultHost, file: Path) -> tuple[list[Told], float]:
    """Each document of `natop snapshot` for so long, and what they cost of one core."""
    times = ["--every", str(EVERY_S), "--count", str(1 + SECONDS // EVERY_S)]
    options = [*times, "--format", "json", "--netns", made.host.name, "--docker-host", made.engine.url]
    begun = time.monotonic()
    with file.open("w") as out:
        natop = subprocess.Popen([*product.NATOP, "snapshot", *options], stdout=out, env=product.environment())
        _, status, used = os.wait4(natop.pid, 0)
        natop.returncode = os.waitstatus_to_exitcode(status)
    assert natop.returncode == 0
    documents = [json.loads(line) for line in file.read_text().splitlines()]
    return documents, (used.ru_utime + used.ru_stime) / (time.monotonic() - begun)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 180)
def test_a_healthy_busy_host(made: FaultHost, tmp_path: Path) -> None:
    made.host.sysctl("net.netfilter.nf_conntrack_tcp_timeout_time_wait", TIME_WAIT_S)
    for place in (*made.inside.values(), made.outside):
        for name, value in SETTINGS.items():
            place.sysctl(name, value)
    far = [*((address, port) for address in (FAR, FAR_TOO) for port in PORTS), (FAR, KEPT_PORT)]
    rush.serve(made.outside, far, tmp_path / "far")
    rush.serve(made.inside["web"], [(ADDRESSES["web"], 80)], tmp_path / "web")
    with rush.calling(loads(made), tmp_path / "calls"):
        wait_until(lambda: oracle.count(made.host) > MEANT_PER_S, what="traffic")
        before, begun = opened(made), time.monotonic()
        told, cost = watched(made, tmp_path / "told")
        rate = (opened(made) - before) / (time.monotonic() - begun)
        entries = oracle.count(made.host)
        last = made.doctor(5)
    counters = oracle.counters(made.host)
    again = {name: oracle.tcp_counters(place)["syn_retrans"] for name, place in made.inside.items()}
    news = [new for each in told if (new := each["conntrack"]["rates"]["new"]) is not None]
    seen = statistics.mean(news)
    print(
        f"\n{rate:,.0f} new connections a second for {SECONDS} s, by natop {seen:,.0f}; {entries:,} entries;"
        f" {counters}; SYNs again {again}; natop {100 * cost:.0f} % of a core;"
        f" {[each['summary'] for each in last['findings']]}"
    )
    assert counters["insert_failed"] == counters["drop"] == 0
    assert seen == pytest.approx(rate, rel=0.15)
    assert len(news) > len(told) / 2, "most readings are with the flows"
    assert len(told) == 1 + SECONDS // EVERY_S
    for each in told:
        assert grave(each) == []
        assert set(rules(each)) <= HARMLESS
    quiet(last, but=HARMLESS)
    assert rate >= ENOUGH_PER_S
