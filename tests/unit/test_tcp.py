"""Text of /proc/PID/net to TCP's counters, by name."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.decode.tcp import decode_tcp
from natop.model import TCP_NAMES, NetnsTcp, NetnsText

NETNS = "net:[4026532281]"
SNMP_4_19 = """\
Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards InDelivers
Ip: 1 64 19 0 0 0 0 0 19
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs \
RetransSegs InErrs OutRsts InCsumErrors
Tcp: 1 200 120000 -1 945 502 389 0 3 17508 13427 28 0 466 0
Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti
Udp: 7 1 0 8 0 0 0 0
"""
NETSTAT_4_19 = """\
TcpExt: SyncookiesSent TW ListenOverflows ListenDrops TCPTimeouts TCPTimeWaitOverflow TCPSynRetrans TCPOrigDataSent
TcpExt: 0 12 4 5 31 2 28 1000
IpExt: InNoRoutes InOctets OutOctets
IpExt: 0 123 456
"""
SOCKSTAT = """\
sockets: used 18
TCP: inuse 3 orphan 7 tw 12 alloc 31 mem 71
UDP: inuse 1 mem 0
"""
SOCKSTAT6 = "TCP6: inuse 2\nUDP6: inuse 0\n"
FILES = {"snmp": SNMP_4_19, "netstat": NETSTAT_4_19, "sockstat": SOCKSTAT, "sockstat6": SOCKSTAT6}
COUNTERS = {
    "syn_retrans": 28,
    "retrans_segs": 28,
    "out_segs": 13427,
    "attempt_fails": 389,
    "listen_overflows": 4,
    "listen_drops": 5,
    "timeouts": 31,
    "active_opens": 945,
    "passive_opens": 502,
    "time_wait_overflow": 2,
}


def decoded(files: Mapping[str, str], sysctls: Mapping[str, str] | None = None) -> NetnsTcp | None:
    return decode_tcp(NETNS, NetnsText(files, sysctls or {}))


def test_all_of_it() -> None:
    sysctls = {"net/ipv4/ip_local_port_range": "1024\t65535\n", "net/core/somaxconn": "128\n"}
    assert decoded(FILES, sysctls) == NetnsTcp(
        NETNS,
        COUNTERS,
        sockets_in_use=5,
        time_wait_sockets=12,
        sysctls={"ip_local_port_range": (1024, 65535), "somaxconn": 128},
    )
    assert tuple(COUNTERS) == TCP_NAMES


def columns_turned_round(text: str) -> str:
    """Each line's columns from the last to the first: as a kernel that has put others between them."""
    lines = (line.split() for line in text.splitlines())
    return "\n".join(" ".join([words[0], *reversed(words[1:])]) for words in lines)


def test_columns_go_by_their_names() -> None:
    turned = FILES | {name: columns_turned_round(FILES[name]) for name in ("snmp", "netstat")}
    found = decoded(turned)
    assert found is not None
    assert found.counters == COUNTERS


def test_lines_may_come_in_another_order() -> None:
    """A group's names before its values, other groups before, between and behind."""
    names, values = (line for line in SNMP_4_19.splitlines() if line.startswith("Tcp:"))
    ip, ip_values = (line for line in SNMP_4_19.splitlines() if line.startswith("Ip:"))
    text = "\n".join(["", "TcpMore: ActiveOpens", "TcpMore: 1", names, ip, values, ip_values])
    found = decoded(FILES | {"snmp": text})
    assert found is not None
    assert found.counters == COUNTERS


def test_a_counter_that_the_kernel_does_not_tell_is_missing_and_not_0() -> None:
    """Linux 2.6 has no TCPSynRetrans; a line that was cut has no last columns."""
    netstat = NETSTAT_4_19.replace("TCPSynRetrans", "TCPSomethingElse")
    snmp = "Tcp: ActiveOpens PassiveOpens OutSegs\nTcp: 945 502\n"
    found = decoded({"snmp": snmp, "netstat": netstat})
    assert found is not None
    assert "syn_retrans" not in found.counters
    assert (found.counters["active_opens"], found.counters["timeouts"]) == (945, 31)
    assert "out_segs" not in found.counters
    assert (found.sockets_in_use, found.time_wait_sockets) == (None, None)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"sockstat": SOCKSTAT},
        {"snmp": "", "netstat": "\n"},
        {"snmp": "Tcp: ActiveOpens\n"},
        {"snmp": "Tcp: MaxConn\nTcp: -1\n"},
        {"snmp": "Tcp: ActiveOpens\nTcp: many\n"},
        {"snmp": "Tcp: ActiveOpens\nTcp: ٣\n"},
        {"snmp": f"Tcp: ActiveOpens\nTcp: {'9' * 21}\n"},
    ],
)
def test_text_of_no_use_is_no_testimony(files: Mapping[str, str]) -> None:
    assert decoded(files) is None


def test_sockets_without_ipv6() -> None:
    found = decoded(FILES | {"sockstat6": ""})
    assert found is not None
    assert found.sockets_in_use == 3
    found = decoded({"snmp": SNMP_4_19, "sockstat6": SOCKSTAT6})
    assert found is not None
    assert (found.sockets_in_use, found.time_wait_sockets) == (2, None)


def test_what_is_the_machine_s_is_not_taken_for_the_namespace_s() -> None:
    found = decoded(FILES | {"sockstat": "TCP: orphan 7 alloc 31 mem 71\n", "sockstat6": ""})
    assert found is not None
    assert (found.sockets_in_use, found.time_wait_sockets) == (None, None)


LINES = st.lists(st.sampled_from((*SNMP_4_19.split(), *NETSTAT_4_19.split(), "\n", "TCP:", "-")), max_size=60)


@given(LINES, LINES, st.text(max_size=80), st.text(max_size=80))
def test_any_text_is_read_without_raising(snmp: list[str], netstat: list[str], four: str, six: str) -> None:
    files = {"snmp": " ".join(snmp), "netstat": " ".join(netstat), "sockstat": f"TCP: {four}", "sockstat6": six}
    found = decoded(files, {"net/core/somaxconn": four})
    assert found is None or found.counters.keys() <= set(TCP_NAMES)
