"""Lost SYNs that are not NAT's doing: accept queues, loss outside, ends that never answer. Each on the real kernel.

The judges are `nstat` in the namespaces, `conntrack -S`, `conntrack -L`, and what the test's own nft rules drop.
"""

import contextlib
import socket

import pytest

from natop.diagnose.severities import MANY_LOST
from tests.kernel.faulthost import (
    ADDRESSES,
    FAR,
    FAR_TOO,
    HOST,
    OUTSIDE,
    WEB_PORT,
    FaultHost,
    Watch,
    connected,
    counted,
    grave,
    knocking,
    listener,
    number_behind,
    quiet,
    the,
)
from tests.lab import oracle, traffic
from tests.lab.netns import Namespace, wait_until

FIRST_OF_EACH = """
table ip outage {{
    set known {{ type ipv4_addr . inet_service; flags dynamic; }}
    chain in {{
        type filter hook prerouting priority -300
        ip daddr != {far} accept
        tcp flags & (syn | ack) != syn accept
        ip saddr . tcp sport @known accept
        add @known {{ ip saddr . tcp sport }} counter drop
    }}
}}
"""
ALL = """
table ip outage {{
    chain in {{
        type filter hook prerouting priority -300
        ip daddr {far} counter drop
    }}
}}
"""


def overflows(place: Namespace) -> int:
    return oracle.tcp_counters(place)["listen_overflows"]


def sent_again(made: FaultHost, name: str = "app") -> int:
    return oracle.tcp_counters(made.inside[name])["syn_retrans"]


def nothing_lost(made: FaultHost) -> bool:
    """Whether conntrack has dropped no packet."""
    counters = oracle.counters(made.host)
    return counters["insert_failed"] == counters["drop"] == 0


def emptied(waiting: socket.socket) -> None:
    """Accept whoever waits in a listener's queue."""
    waiting.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            waiting.accept()[0].close()


def test_a_container_that_does_not_accept(made: FaultHost) -> None:
    """Callers are a container, whose SYNs come again as in a race, and clients of the published port."""
    web, end = made.inside["web"], (ADDRESSES["web"], 80)
    with listener(web, end, backlog=0) as waiting:
        with Watch(made) as watch:
            with knocking(made.inside["app"], end, 12), knocking(made.outside, (OUTSIDE, WEB_PORT), 6):
                wait_until(lambda: overflows(web) >= 16 and sent_again(made) >= 5, what="overflows")
            told = watch.verdict()
        assert grave(told) == [("accept-queue-overflow", "web")]
        finding = the(told, "accept-queue-overflow")
        assert finding["severity"] == ("critical" if overflows(web) >= MANY_LOST else "warning")
        assert number_behind(finding, "ListenOverflows") == overflows(web)
        assert number_behind(finding, "ListenDrops") == oracle.tcp_counters(web)["listen_drops"]
        assert number_behind(finding, "insert_failed") == 0
        assert nothing_lost(made)
        emptied(waiting)
        with Watch(made) as watch:
            with knocking(made.inside["app"], end, 1) as callers:
                wait_until(lambda: connected(callers) == 1, what="the connection")
            quiet(watch.verdict())


def test_syns_lost_outside_this_host(made: FaultHost) -> None:
    """The world outside loses the first SYN of each connection; the second is answered."""
    made.outside.nft(FIRST_OF_EACH.format(far=FAR))
    with listener(made.outside, (FAR, 81)):
        with Watch(made) as watch:
            with knocking(made.inside["app"], (FAR, 81), 12) as callers:
                wait_until(lambda: connected(callers) == 12, what="the second SYNs to be answered")
            told = watch.verdict()
        assert grave(told) == [("syn-loss-elsewhere", "app")]
        finding = the(told, "syn-loss-elsewhere")
        lost = counted(made.outside, "outage")
        assert lost == sent_again(made) == 12
        assert finding["summary"].startswith(f"SYNs lost on the way, not in NAT: {lost} sent again in ")
        assert number_behind(finding, "SYN retransmits") == lost
        assert finding["evidence"][0].endswith(f" s: app ({lost})")
        assert nothing_lost(made)
        made.outside.nft("delete table ip outage")
        with Watch(made) as watch:
            with knocking(made.inside["app"], (FAR, 81), 12) as callers:
                wait_until(lambda: connected(callers) == 12, what="connections")
            quiet(watch.verdict())


def test_a_few_syns_lost_outside_are_weather(made: FaultHost) -> None:
    made.outside.nft(FIRST_OF_EACH.format(far=FAR))
    with listener(made.outside, (FAR, 81)), Watch(made) as watch:
        with knocking(made.inside["app"], (FAR, 81), 3) as callers:
            wait_until(lambda: connected(callers) == 3, what="the second SYNs to be answered")
        assert counted(made.outside, "outage") == 3
        quiet(watch.verdict())


def test_an_end_that_never_answers(made: FaultHost) -> None:
    """SYNs to a black hole pile up: who sends them, where to, and no word of NAT or of loss on the way to others."""
    made.outside.nft(ALL.format(far=FAR_TOO))
    with listener(made.outside, (FAR, 81)), traffic.Held([traffic.connect(made.inside["web"], FAR, 81)]):
        with Watch(made) as watch, knocking(made.inside["app"], (FAR_TOO, 443), 60):
            wait_until(lambda: sent_again(made) >= 180, what="SYNs to be sent again, so that all have waited")
            told = watch.verdict()
            piled = oracle.state_counts(made.host)["SYN_SENT"]
        assert piled == 60
        assert counted(made.outside, "outage") >= 120
        assert grave(told) == [("unreplied-syns", "app")]
        finding = the(told, "unreplied-syns")
        assert finding["summary"].startswith(f"{piled} connections to {FAR_TOO}:443/tcp are not answered")
        assert finding["evidence"] == [f"{piled} flows in SYN_SENT without a reply for 2 s", "opened by app"]
        assert nothing_lost(made)
        made.host.flush()
        quiet(made.doctor())


def test_a_refused_connection_is_an_answer(made: FaultHost) -> None:
    """A closed port answers by RST: no pile and no loss."""
    with Watch(made) as watch:
        for _ in range(60):
            with pytest.raises(ConnectionRefusedError):
                traffic.connect(made.inside["app"], FAR, 444)
        quiet(watch.verdict())


def test_only_the_last_seconds_count(made: FaultHost) -> None:
    """Overflows and retransmits from before natop began to watch are no finding."""
    end = (ADDRESSES["web"], 80)
    with listener(made.inside["web"], end, backlog=0):
        with knocking(made.inside["app"], end, 8):
            wait_until(lambda: overflows(made.inside["web"]) >= 6 and sent_again(made) >= 5, what="overflows")
        quiet(made.doctor())


def test_a_server_of_the_host_s_own_that_does_not_accept(made: FaultHost) -> None:
    """As with a container on the host's network: the counters are the host's, and the loss is not outside."""
    with listener(made.host, (OUTSIDE, 9000), backlog=0), Watch(made) as watch:
        with knocking(made.inside["app"], (OUTSIDE, 9000), 12):
            wait_until(lambda: overflows(made.host) >= 10 and sent_again(made) >= 5, what="overflows")
        told = watch.verdict()
        assert grave(told) == [("accept-queue-overflow", HOST)]
        assert number_behind(the(told, "accept-queue-overflow"), "ListenOverflows") == overflows(made.host)
        assert nothing_lost(made)
