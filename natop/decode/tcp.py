"""Text of /proc/PID/net/{snmp,netstat,sockstat,sockstat6} to TCP's counters, by name, never by position."""

from collections.abc import Iterable, Iterator
from functools import lru_cache

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
    told = dict(_counters(text.files.get("snmp", ""), "Tcp"))
    told |= _counters(text.files.get("netstat", ""), "TcpExt")
    if not told:
        return None
    four = _sockets(text.files.get("sockstat", ""), "TCP:")
    six = _sockets(text.files.get("sockstat6", ""), "TCP6:")
    in_use = [part["inuse"] for part in (four, six) if "inuse" in part]
    return NetnsTcp(
        netns,
        {name: told[name] for name in TCP_NAMES if name in told},
        sockets_in_use=sum(in_use) if in_use else None,
        time_wait_sockets=four.get("tw"),
        sysctls=sysctls.decode(text.sysctls),
    )


def _counters(text: str, group: str) -> Iterator[tuple[str, int]]:
    """Those of a group's line of names and the line of values that follows it."""
    lines = (line for line in text.splitlines() if line.startswith(group + ":"))
    for names, line in zip(lines, lines, strict=False):
        values = line.split()
        yield from _numbers((name, values[at]) for name, at in _columns(names) if at < len(values))


@lru_cache(maxsize=32)
def _columns(line: str) -> tuple[tuple[str, int], ...]:
    """Which of TCP_NAMES stand in a line of names, and where. All namespaces of a kernel have the same lines."""
    group, *words = line.split()
    places = {word: at for at, word in reversed(tuple(enumerate(words, 1)))}
    return tuple((name, places[word]) for name, (of, word) in _SPELT.items() if f"{of}:" == group and word in places)


def _sockets(text: str, group: str) -> dict[str, int]:
    """`TCP: inuse 3 orphan 0 tw 5 …`: of these orphan, alloc and mem are the machine's (net/ipv4/proc.c)."""
    for line in text.splitlines():
        words = line.split()
        if words and words[0] == group:
            return dict(_numbers(zip(words[1::2], words[2::2], strict=False)))
    return {}


def _numbers(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, int]]:
    """Those whose value is a counter: some others of the kernel's are negative."""
    for name, word in pairs:
        if word.isascii() and word.isdigit() and len(word) <= _MOST_DIGITS:
            yield name, int(word)
