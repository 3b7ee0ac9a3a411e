"""Kernel statistics and /proc text to counters, by name, never by position."""

from collections.abc import Iterator, Mapping

from natop import uapi
from natop.decode.netlink import attributes, messages
from natop.model import COUNTER_NAMES, Conntrack
from natop.uapi import CtaStatsCpu, CtaStatsGlobal, CtMessage

MODULUS = 2**32
"""The counters are 32 bits wide, on every CPU and so in their sum."""

STAT_FILE = "net/stat/nf_conntrack"
COUNT_FILE = "sys/net/netfilter/nf_conntrack_count"
MAX_FILE = "sys/net/netfilter/nf_conntrack_max"
BUCKETS_FILE = "sys/net/netfilter/nf_conntrack_buckets"

SYSCTLS = (
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_buckets",
    "net/netfilter/nf_conntrack_acct",
    "net/netfilter/nf_conntrack_timestamp",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
    "net/netfilter/nf_conntrack_tcp_timeout_time_wait",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
    "net/netfilter/nf_conntrack_tcp_timeout_fin_wait",
    "net/netfilter/nf_conntrack_udp_timeout",
    "net/netfilter/nf_conntrack_udp_timeout_stream",
    "net/ipv4/ip_forward",
    "net/ipv4/ip_local_port_range",
    "net/bridge/bridge-nf-call-iptables",
)
"""The sysctls shown, below /proc/sys."""
PROC_FILES = (STAT_FILE, COUNT_FILE, "sys/kernel/osrelease", *(f"sys/{name}" for name in SYSCTLS))
"""What `collect.proc` is asked to read, below /proc."""

_PROC_COLUMNS = {"clashres": "clash_resolve", "chainlength": "chaintoolong", "icmp_error": "error"}
"""Columns of /proc/net/stat/nf_conntrack that are spelt otherwise than by `conntrack -S`
(net/netfilter/nf_conntrack_standalone.c, ct_cpu_seq_show)."""
_CPU_NAMES = {attribute: attribute.name.lower().replace("chain_too", "chaintoo") for attribute in CtaStatsCpu}


def conntrack(stats: bytes, proc: Mapping[str, str]) -> Conntrack:
    """Fill and counters: from ctnetlink where it answered, else from /proc."""
    totals = dict(_global(stats))
    counters = _summed(_cpu_counters(stats)) or _summed(_proc_counters(proc.get(STAT_FILE, "")))
    return Conntrack(
        count=totals.get(CtaStatsGlobal.ENTRIES, number(proc.get(COUNT_FILE))),
        max=totals.get(CtaStatsGlobal.MAX_ENTRIES, number(proc.get(MAX_FILE))),
        buckets=number(proc.get(BUCKETS_FILE)),
        counters=counters,
    )


def sysctls(proc: Mapping[str, str]) -> dict[str, int | tuple[int, ...]]:
    """The sysctls that could be read, by their last name component; several numbers as a tuple."""
    found: dict[str, int | tuple[int, ...]] = {}
    for name in SYSCTLS:
        words = proc.get(f"sys/{name}", "").split()
        if words and all(word.isascii() and word.isdigit() for word in words):
            values = tuple(int(word) for word in words)
            found[name.rpartition("/")[2]] = values if len(values) > 1 else values[0]
    return found


def number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() else None


def rates(now: Mapping[str, int], before: Mapping[str, int], seconds: float) -> dict[str, float]:
    """Per second, for the counters that both readings have; a counter that wrapped has still only grown."""
    return {name: (now[name] - before[name]) % MODULUS / seconds for name in now.keys() & before.keys()}


def _summed(cpus: list[dict[str, int]]) -> dict[str, int]:
    known = [name for name in COUNTER_NAMES if any(name in cpu for cpu in cpus)]
    return {name: sum(cpu.get(name, 0) for cpu in cpus) % MODULUS for name in known}


def _global(stats: bytes) -> Iterator[tuple[int, int]]:
    for kind, _, body in messages(stats, uapi.NFGENMSG_LEN):
        if kind == CtMessage.GET_STATS.nlmsg_type:
            yield from _be32(body)


def _cpu_counters(stats: bytes) -> list[dict[str, int]]:
    return [
        {_CPU_NAMES[CtaStatsCpu(a)]: value for a, value in _be32(body) if a in _CPU_NAMES}
        for kind, _, body in messages(stats, uapi.NFGENMSG_LEN)
        if kind == CtMessage.GET_STATS_CPU.nlmsg_type
    ]


def _proc_counters(text: str) -> list[dict[str, int]]:
    """One mapping a CPU; /proc/net/stat/nf_conntrack is a line of names and a line of hex numbers a CPU."""
    names, *lines = text.splitlines() or [""]
    columns = [_PROC_COLUMNS.get(name, name) for name in names.split()]
    try:
        rows = [[int(word, 16) for word in line.split()] for line in lines]
    except ValueError:
        return []
    return [{n: v for n, v in zip(columns, row, strict=False) if n in COUNTER_NAMES} for row in rows]


def _be32(data: bytes) -> Iterator[tuple[int, int]]:
    for kind, value in attributes(data):
        if len(value) == 4:
            yield kind, int.from_bytes(value, "big")
