"""Kernel statistics and /proc text to counters, by name, never by position."""

from collections.abc import Iterator, Mapping

from natop import sysctls as catalogue
from natop import uapi
from natop.decode.neighbours import ARP_FILE
from natop.decode.netlink import attributes, messages
from natop.model import COUNTER_NAMES, Conntrack
from natop.uapi import CtaStatsCpu, CtaStatsGlobal, CtMessage

MODULUS = 2**32
"""The counters are 32 bits wide, on every CPU and so in their sum."""

STAT_FILE = "net/stat/nf_conntrack"
COUNT_FILE = "sys/net/netfilter/nf_conntrack_count"
MAX_FILE = "sys/net/netfilter/nf_conntrack_max"
BUCKETS_FILE = "sys/net/netfilter/nf_conntrack_buckets"
BOOT_FILE = "sys/kernel/random/boot_id"
"""A random number for as long as the machine runs (drivers/char/random.c)."""
SYS = "sys"
"""The folder of sysctls, below /proc."""

USERS_FILE = "self/uid_map"
ALL_USERS = "0 0 4294967295"
"""What it has in the first user namespace (user_namespaces(7))."""

PROC_FILES = (
    *(STAT_FILE, COUNT_FILE, BOOT_FILE, ARP_FILE, USERS_FILE, "sys/kernel/osrelease"),
    *(f"{SYS}/{path}" for path in catalogue.PATHS),
)
"""What `collect.proc` is asked to read, below /proc."""

_PROC_COLUMNS = {"clashres": "clash_resolve", "chainlength": "chaintoolong", "icmp_error": "error"}
"""Columns of /proc/net/stat/nf_conntrack that are spelt otherwise than by `conntrack -S`
(net/netfilter/nf_conntrack_standalone.c, ct_cpu_seq_show)."""
_CPU_NAMES = {attribute: attribute.name.lower().replace("chain_too", "chaintoo") for attribute in CtaStatsCpu}


def conntrack(stats: bytes, proc: Mapping[str, str]) -> Conntrack:
    """Fill and counters: from ctnetlink where it answered, else from /proc."""
    totals = dict(_global(stats))
    cpus = _cpu_counters(stats)
    if not any(cpus):
        cpus = _proc_counters(proc.get(STAT_FILE, ""))
    return Conntrack(
        count=totals.get(CtaStatsGlobal.ENTRIES, number(proc.get(COUNT_FILE))),
        max=totals.get(CtaStatsGlobal.MAX_ENTRIES, number(proc.get(MAX_FILE))),
        buckets=number(proc.get(BUCKETS_FILE)),
        counters=_summed(cpus),
        cpus=tuple(cpus),
    )


def sysctls(proc: Mapping[str, str]) -> dict[str, catalogue.Value]:
    """The sysctls of the catalogue that could be read, by name; several numbers as a tuple."""
    return catalogue.decode({path: text for path in catalogue.PATHS if (text := proc.get(f"{SYS}/{path}")) is not None})


def number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() else None


def rates(now: Mapping[str, int], before: Mapping[str, int], seconds: float) -> dict[str, float]:
    """Per second, for the counters that both readings have; a counter that wrapped has still only grown."""
    return {name: number / seconds for name, number in risen(before, now).items()}


def risen(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """How far each counter has come, of those that both readings have."""
    return {name: (number - before[name]) % MODULUS for name, number in now.items() if name in before}


def per_second(
    now: Conntrack, before: Conntrack, seconds: float
) -> tuple[dict[str, float], tuple[dict[str, float], ...]]:
    """The rates of all CPUs together and of each, these empty where the readings tell of different CPUs.

    Each CPU's counter wraps by itself, so the whole is the sum of the CPUs' rates, not the rate of their sum.
    """
    if not now.cpus or len(now.cpus) != len(before.cpus):
        return rates(now.counters, before.counters, seconds), ()
    cpus = tuple(rates(cpu, past, seconds) for cpu, past in zip(now.cpus, before.cpus, strict=True))
    known = dict.fromkeys(name for cpu in cpus for name in cpu)
    return {name: sum(cpu.get(name, 0.0) for cpu in cpus) for name in known}, cpus


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
