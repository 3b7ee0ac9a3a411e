"""Text of /proc/PID/net/{snmp,netstat,sockstat,sockstat6} to TCP's counters, by name, never by position."""

from collections.abc import Iterator

from natop import sysctls
from natop.model import TCP_NAMES, NetnsTcp, NetnsText

_SPELT = {
    "syn_retrans": ("TcpExt", "TCPSynRetrans"),
    "retrans_segs": ("Tcp", "RetransSegs"),
    "out_segs": ("Tcp", "OutSegs"),
    "attempt_fails": ("Tcp", "AttemptFails"),
    "listen_overflows": ("TcpExt", "ListenOverflows"),
    "listen_drops": ("TcpExt", "ListenDrops"),
    "timeouts": ("TcpExt", "TCPTimeouts"),
    "active_opens": ("Tcp", "ActiveOpens"),
    "passive_opens": ("Tcp", "PassiveOpens"),
    "time_wait_overflow": ("TcpExt", "TCPTimeWaitOverflow"),
}
"""Group and name of each of TCP_NAMES: net/ipv4/proc.c, snmp4_tcp_list and snmp4_net_list."""
_MOST_DIGITS = 20
"""Of a counter of 64 bits."""


def decode_tcp(netns: str, text: NetnsText) -> NetnsTcp | None:
    """What one network namespace tells; None where it tells none of the counters. Rates are another's to add."""
    told = {("Tcp", name): value for name, value in _pairs(text.files.get("snmp", ""), "Tcp:")}
    told |= {("TcpExt", name): value for name, value in _pairs(text.files.get("netstat", ""), "TcpExt:")}
    counters = {name: told[_SPELT[name]] for name in TCP_NAMES if _SPELT[name] in told}
    if not counters:
        return None
    four = _sockets(text.files.get("sockstat", ""), "TCP:")
    six = _sockets(text.files.get("sockstat6", ""), "TCP6:")
    in_use = [part["inuse"] for part in (four, six) if "inuse" in part]
    return NetnsTcp(
        netns,
        counters,
        sockets_in_use=sum(in_use) if in_use else None,
        time_wait_sockets=four.get("tw"),
        sysctls=sysctls.decode(text.sysctls),
    )


def _pairs(text: str, group: str) -> Iterator[tuple[str, int]]:
    """Name and value from a group's line of names and the line of values that follows it."""
    names: list[str] | None = None
    for line in text.splitlines():
        words = line.split()
        if not words or words[0] != group:
            continue
        if names is None:
            names = words[1:]
        else:
            yield from _numbers(zip(names, words[1:], strict=False))
            names = None


def _sockets(text: str, group: str) -> dict[str, int]:
    """`TCP: inuse 3 orphan 0 tw 5 …`: of these orphan, alloc and mem are the machine's (net/ipv4/proc.c)."""
    for line in text.splitlines():
        words = line.split()
        if words and words[0] == group:
            return dict(_numbers(zip(words[1::2], words[2::2], strict=False)))
    return {}


def _numbers(pairs: Iterator[tuple[str, str]]) -> Iterator[tuple[str, int]]:
    """Those whose value is a counter: some others of the kernel's are negative."""
    for name, word in pairs:
        if word.isascii() and word.isdigit() and len(word) <= _MOST_DIGITS:
            yield name, int(word)
