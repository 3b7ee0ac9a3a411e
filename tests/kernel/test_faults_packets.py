"""Packets that fit no connection, and connections that nobody has any more, on the real kernel.

The judges are `conntrack -S`, `conntrack -L`, and counters in nft rules of the test's own.
"""

import contextlib
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.kernel.faulthost import (
    ADDRESSES,
    FAR,
    HOST,
    SUBNET,
    FaultHost,
    Watch,
    counted,
    grave,
    listener,
    number_behind,
    quiet,
    rules,
    the,
)
from tests.lab import oracle, traffic
from tests.lab.netns import entered
from tests.unit import remedies

TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21  # linux/tcp.h
TCP_RECV_QUEUE, TCP_SEND_QUEUE = 1, 2
ACK = 0x10
FAR_OFF = 1 << 28
"""Bytes; no window is so wide."""
PACKETS = 300
UNTRANSLATED = f"""
table ip watch {{
    chain in {{
        type filter hook prerouting priority -300
        ip saddr {SUBNET} counter
    }}
}}
"""
"""In the world outside: what has come there with a container's own address."""
USUAL_DROP = """
table ip usual {
    chain forward {
        type filter hook forward priority 0
        ct state invalid counter drop
    }
}
"""
DAY_S = 86_400
ESTABLISHED_S = 432_000
TIMEOUT = "net.netfilter.nf_conntrack_tcp_timeout_established"
SILENCE = """
table ip silence {
    chain out {
        type filter hook output priority -300
        drop
    }
}
"""


@dataclass(frozen=True)
class Talk:
    """A connection of app's to the world outside, as its TCP sees it."""

    port: int
    sent: int = 0
    """The number of the next byte it sends."""
    heard: int = 0


def acks(made: FaultHost, talk: Talk, count: int = PACKETS) -> None:
    """So many bare ACKs of app's from that port, each beyond any window that its connection could have."""
    with entered(made.inside["app"]):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    with raw:
        for number in range(count):
            raw.sendto(segment(talk.port, talk.sent + FAR_OFF + number, talk.heard), (FAR, 0))


def segment(sport: int, number: int, heard: int) -> bytes:
    """A TCP header (RFC 9293) with that sequence number and acknowledgement, both modulo 2^32."""
    header = struct.pack(">HHIIBBHHH", sport, 81, number % 2**32, heard % 2**32, 5 << 4, ACK, 1024, 0, 0)
    ends = socket.inet_aton(ADDRESSES["app"]) + socket.inet_aton(FAR)
    pseudo = ends + struct.pack(">BBH", 0, socket.IPPROTO_TCP, len(header))
    total = sum(struct.unpack(f">{(len(pseudo) + len(header)) // 2}H", pseudo + header))
    total = (total & 0xFFFF) + (total >> 16)
    total += total >> 16
    return header[:16] + struct.pack(">H", ~total & 0xFFFF) + header[18:]


@contextlib.contextmanager
def talking(made: FaultHost) -> Iterator[Talk]:
    """Such a connection, of which TCP_REPAIR tells the numbers; its socket says no more on its own."""
    with listener(made.outside, (FAR, 81)), contextlib.closing(traffic.connect(made.inside["app"], FAR, 81)) as own:
        own.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        numbers = []
        for queue in (TCP_SEND_QUEUE, TCP_RECV_QUEUE):
            own.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
            numbers.append(own.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ) % 2**32)
        yield Talk(own.getsockname()[1], *numbers)


def invalid(made: FaultHost) -> int:
    return oracle.counters(made.host)["invalid"]


@pytest.mark.parametrize("dropped", [False, True], ids=["that leave the host", "that a rule drops"])
def test_packets_out_of_the_window(made: FaultHost, dropped: bool) -> None:
    """They keep the container's address on the way out, unless a rule drops them; conntrack counts them alike."""
    made.outside.nft(UNTRANSLATED)
    if dropped:
        made.host.nft(USUAL_DROP)
    with talking(made) as talk, Watch(made) as watch:
        before = invalid(made)
        acks(made, talk)
        told = watch.verdict()
        rose = invalid(made) - before
    assert rose == PACKETS
    assert counted(made.outside, "watch") == (0 if dropped else PACKETS)
    assert not dropped or counted(made.host, "usual") == PACKETS
    assert grave(told) == [("invalid-packets", HOST)]
    finding = the(told, "invalid-packets")
    assert number_behind(finding, "invalid") == rose
    assert finding["summary"].startswith(f"{rose} INVALID packets")


def test_packets_of_no_connection(made: FaultHost) -> None:
    """Where conntrack takes up no connection in its middle, a bare ACK is INVALID; where it does, it is a flow."""
    made.host.sysctl("net.netfilter.nf_conntrack_tcp_loose", 0)
    with Watch(made) as watch:
        acks(made, Talk(40_000))
        told = watch.verdict()
    assert invalid(made) == PACKETS
    assert grave(told) == [("invalid-packets", HOST)]
    assert number_behind(the(told, "invalid-packets"), "invalid") == PACKETS
    made.host.sysctl("net.netfilter.nf_conntrack_tcp_loose", 1)
    with Watch(made) as watch:
        acks(made, Talk(40_001))
        quiet(watch.verdict())


def test_a_few_packets_out_of_the_window_are_no_fault(made: FaultHost) -> None:
    with talking(made) as talk, Watch(made) as watch:
        acks(made, talk, count=5)
        quiet(watch.verdict())
    assert invalid(made) == 5


def test_a_liberal_conntrack_has_none_out_of_the_window(made: FaultHost) -> None:
    """The remedy as it is printed, and its undoing."""
    with talking(made) as talk:
        with Watch(made) as watch:
            acks(made, talk)
            remedies = the(watch.verdict(), "invalid-packets")["remedies"]
        liberal = next(each for each in remedies if "be_liberal" in each["commands"][0])
        for command in liberal["commands"]:
            made.host.run("sh", "-c", command)
        with Watch(made) as watch:
            before = invalid(made)
            acks(made, talk)
            quiet(watch.verdict())
            assert invalid(made) == before
        for command in liberal["undo"]:
            made.host.run("sh", "-c", command)
        acks(made, talk)
        assert invalid(made) == before + PACKETS


def test_packets_that_the_printed_table_drops(made: FaultHost) -> None:
    """What is printed where Docker's rules are of nft: such packets leave no more, others do. Undone, all do."""
    cases = remedies.cases(remedies.NAMESPACE, "invalid-packets")
    (table,) = {case.remedy() for case in cases if "natop_invalid" in case.remedy().commands[0]}
    made.outside.nft(UNTRANSLATED)
    before = made.host.run("nft", "list", "tables").stdout
    with talking(made) as talk:
        for commands, left in ((), PACKETS), (table.commands, PACKETS), (table.undo, 2 * PACKETS):
            for command in commands:
                made.host.run("sh", "-c", command)
            acks(made, talk)
            assert counted(made.outside, "watch") == left
            if commands == table.commands:
                listing = made.host.run("nft", "list", "table", "inet", "natop_invalid").stdout
                assert f"counter packets {PACKETS} " in listing
                traffic.connect(made.inside["app"], FAR, 81).close()
    assert made.host.run("nft", "list", "tables").stdout == before


# Connections that nobody has any more


def idle(made: FaultHost, count: int, days: float) -> None:
    """So many connections of app's, whose ends vanish without a word, with the time left that so many days leave.

    The kernel reads the timeout with each packet, so a shorter one while they talk makes them as old.
    """
    left = round(ESTABLISHED_S - days * DAY_S)
    made.host.sysctl(TIMEOUT, left)
    with listener(made.outside, (FAR, 81), backlog=256), contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(contextlib.closing(traffic.connect(made.inside["app"], FAR, 81)))
        made.inside["app"].nft(SILENCE)
        made.outside.nft(SILENCE)
    made.host.sysctl(TIMEOUT, ESTABLISHED_S)
    connections = [flow for flow in oracle.flows(made.host) if flow["proto"] == "tcp"]
    assert all(left - 60 < flow["timeout_s"] <= left for flow in connections)


@pytest.mark.parametrize(("count", "days", "are"), [(120, 1.5, True), (120, 0.5, False), (80, 1.5, False)], ids=str)
def test_connections_that_nobody_has_any_more(made: FaultHost, count: int, days: float, are: bool) -> None:
    """A hundred for more than a day are worth a word, no more: they are ESTABLISHED for conntrack alone."""
    idle(made, count, days)
    assert oracle.state_counts(made.host) == {"ESTABLISHED": count}
    told = made.doctor()
    quiet(told, but=["established-zombies"])
    assert ("established-zombies" in rules(told)) == are
    if are:
        finding = the(told, "established-zombies")
        assert (finding["severity"], finding["subject"]) == ("info", "app")
        assert finding["summary"].startswith(f"{count} connections ESTABLISHED")
        assert finding["evidence"] == [f"{count} opened by app"]
        made.host.run("conntrack", "-D", "-s", ADDRESSES["app"])
        quiet(made.doctor())
