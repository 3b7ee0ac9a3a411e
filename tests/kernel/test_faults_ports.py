"""NAT's source ports on the real kernel: containers that race for one, and a pool that has none left. No entry is
injected.

The judges are `conntrack -S`, `conntrack -C`, `nstat` in the containers, and what the test itself has connected.
"""

from __future__ import annotations

import socket

from tests.kernel import twins
from tests.kernel.faulthost import (
    ADDRESSES,
    FAR,
    FAR_TOO,
    HOST,
    OUTSIDE,
    FaultHost,
    Watch,
    connected,
    grave,
    knocking,
    listener,
    number_behind,
    quiet,
    the,
)
from tests.lab import oracle
from tests.lab.netns import entered, wait_until

ENOUGH, RACES = 5, 24
"""SYNs that a test wants to see lost, and the races at most to that end."""
CONNECTS = 50
BACKLOG = 4096
END = (FAR, 81)


def race(made: FaultHost, first: int, races: int = RACES) -> int:
    """Races from that port on until ENOUGH SYNs are lost; how many connects came to nothing."""
    callers = [(made.inside[name].path, address) for name, address in ADDRESSES.items()]
    before, failed = lost(made), 0
    for begin in range(first, first + races * CONNECTS, CONNECTS):
        failed += twins.race(callers, END, range(begin, begin + CONNECTS), "tcp")
        if lost(made) - before >= ENOUGH:
            break
    return failed


def lost(made: FaultHost) -> int:
    """SYNs that conntrack has dropped because of a clash, and nothing else."""
    counters = oracle.counters(made.host)
    assert counters["insert_failed"] == counters["drop"]
    return counters["drop"]


def sent_again(made: FaultHost) -> dict[str, int]:
    return {name: oracle.tcp_counters(place)["syn_retrans"] for name, place in made.inside.items()}


def test_containers_that_connect_from_one_port_at_once(made: FaultHost) -> None:
    """Each lost SYN comes again. The remedy as it is printed ends the losses, and with its undoing they come back."""
    with listener(made.outside, END, BACKLOG):
        with Watch(made) as watch:
            assert race(made, 20_000) == 0
            told = watch.verdict()
        dropped, again = lost(made), sent_again(made)
        assert dropped >= ENOUGH
        assert grave(told) == [("snat-race", HOST)]
        finding = the(told, "snat-race")
        assert finding["summary"].startswith(f"race for a NAT source port: {dropped} new connections lost a SYN in ")
        assert number_behind(finding, "insert_failed") == dropped
        assert number_behind(finding, "SYN retransmits") == sum(again.values()) == dropped
        assert all(f"{name} ({count})" in finding["evidence"][1] for name, count in again.items() if count)
        assert any(each.startswith("busiest pool ") and "→ not exhaustion" in each for each in finding["evidence"])
        remedy = finding["remedies"][0]
        for command in remedy["commands"]:
            made.host.run("sh", "-c", command)
        with Watch(made) as watch:
            assert race(made, 30_000, races=4) == 0
            quiet(watch.verdict())
        assert lost(made) == dropped
        for command in remedy["undo"]:
            made.host.run("sh", "-c", command)
        assert race(made, 40_000) == 0
        assert lost(made) - dropped >= ENOUGH


# A pool without a free port

TCP_REPAIR = 19  # linux/tcp.h
FIRST, HALF, LAST = 1024, 33_536, 65_536
"""What NAT picks from, less than half of it for each container."""
WIDE = "1024 65535"
BATCH = 1024
CALLS = 20


def take(made: FaultHost, name: str, ports: range, served: socket.socket) -> None:
    """Connections from each of these ports, whose two ends then vanish without a word, as when machines lose power.

    A socket in repair is closed like that, and takes no memory any more; conntrack goes on holding the port.
    """
    for first in range(ports.start, ports.stop, BATCH):
        batch = ports[first - ports.start :][:BATCH]
        with entered(made.inside[name]):
            ends = [socket.socket() for _ in batch]
        for port, each in zip(batch, ends, strict=True):
            each.bind((ADDRESSES[name], port))
            each.setblocking(False)
            each.connect_ex(END)
        ends += [served.accept()[0] for _ in batch]
        for each in ends:
            each.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
            each.close()


def test_a_pool_whose_every_port_is_held(made: FaultHost) -> None:
    """All 64,512 towards one end: its SYNs are lost, those to another port or address of it are not; never a race."""
    for place in made.inside.values():
        place.sysctl("net.ipv4.ip_local_port_range", WIDE)
    others = (FAR, 82), (FAR_TOO, 81)
    with (
        listener(made.outside, END, BACKLOG) as served,
        listener(made.outside, others[0]),
        listener(made.outside, others[1]),
    ):
        served.settimeout(30)
        take(made, "web", range(FIRST, HALF), served)
        take(made, "app", range(HALF, LAST), served)
        held = oracle.state_counts(made.host)["ESTABLISHED"]
        assert held == LAST - FIRST
        with Watch(made) as watch:
            with knocking(made.inside["app"], END, CALLS, first_port=5000) as callers:
                wait_until(lambda: lost(made) >= 2 * CALLS, what="SYNs to be lost, and once more")
                assert connected(callers) == 0
                for number, end in enumerate(others, 6):
                    with knocking(made.inside["app"], end, CALLS, first_port=1000 * number) as elsewhere:
                        wait_until(lambda: connected(elsewhere) == CALLS, what="connections to other ends")
            told = watch.verdict()
        assert grave(told) == [("nat-port-exhaustion", f"{OUTSIDE} → {FAR}:81/tcp")]
        finding = the(told, "nat-port-exhaustion")
        assert finding["severity"] == "critical"
        assert finding["summary"] == f"100 % of {held:,} NAT ports of {OUTSIDE} → {FAR}:81/tcp are taken"
        assert f"{held:,} ports in use" in finding["evidence"]
        assert "chance that a new SYN is lost: 100.0 %" in finding["evidence"]
        assert f"held by web ({HALF - FIRST:,}) and app ({LAST - HALF:,})" in finding["evidence"]
        assert number_behind(finding, "insert_failed") == lost(made)
        made.host.flush()
        with Watch(made) as watch:
            with knocking(made.inside["app"], END, CALLS) as callers:
                wait_until(lambda: connected(callers) == CALLS, what="connections")
            quiet(watch.verdict())
