"""What the kernel's counters mean, in plain words that fit its version, and what follows from several of them.

Conntrack counts in net/netfilter/nf_conntrack_core.c (read: Linux 5.4, 6.1, 6.6, 6.12); TCP's counters are named in
include/uapi/linux/snmp.h and shown by `nstat`.
"""

from collections.abc import Collection, Mapping

from natop.model import Derived, Version

HOTPATH_GONE = (4, 9)
"""Until then `found` and `insert` counted every packet and every flow (8e8118f89314)."""
TWINS_RESOLVED = (5, 0)
"""Since then two datagrams of one socket that begin a flow at once both pass, also where NAT changes it
(4e35c1cb9460); before, one of them is lost."""
CLASHES_APART = (5, 10)
"""Since then `insert_failed` leaves out clashes that cost nothing, and `clash_resolve` has them (bc92470413f3)."""
CHAINS_LIMITED = (5, 15)
"""Since then a flow is refused whose hash chain has grown too long (d7e7747ac5c2)."""

_MODERN = {
    "found": "ports that NAT tried and found taken; many for each new flow: ports run short towards one remote",
    "invalid": "packets that fit no connection: broken, out of window, or never begun; NAT leaves them as they are",
    "insert": "entries that tools put in (conntrack -I, conntrackd); traffic is not counted here",
    "insert_failed": "new flows refused, mostly because another was first; the packet is lost, a SYN comes again",
    "drop": "packets dropped: for a clash (then insert_failed rises too), for a full table, or by a helper",
    "early_drop": "flows thrown out before their time, because the table was full",
    "error": "ICMP packets that were damaged or made no sense",
    "search_restart": "lookups begun anew because the table changed meanwhile; harmless",
    "clash_resolve": "two packets that began one flow at the same instant, handled without loss; harmless",
    "chaintoolong": "new flows refused because too many share one hash bucket: nf_conntrack_buckets is too small",
}
_BEFORE = {
    "found": (HOTPATH_GONE, "packets that belonged to a known flow, and ports that NAT tried and found taken"),
    "insert": (HOTPATH_GONE, "flows added to the table"),
    "insert_failed": (
        CLASHES_APART,
        "clashes of new flows, those resolved without loss among them; harmless while drop does not rise",
    ),
    "invalid": (CLASHES_APART, "packets that fit no connection; damaged ICMP counts here as under error"),
    "clash_resolve": (CLASHES_APART, "not counted before Linux 5.10"),
    "chaintoolong": (CHAINS_LIMITED, "not counted before Linux 5.15"),
}

BAD = frozenset(("insert_failed", "drop", "early_drop", "chaintoolong"))
"""Counters whose rise is bad news."""

TCP_MEANINGS = {
    "syn_retrans": "SYN and SYN-ACK segments sent again: each is a lost one, and a second or more of waiting",
    "retrans_segs": "segments sent again, of any kind",
    "out_segs": "segments sent, without those sent again",
    "attempt_fails": "connections that failed while they were being made: refused, or never answered",
    "listen_overflows": "connections thrown away because the application did not accept them in time: not NAT",
    "listen_drops": "connections thrown away at a listening socket, for whatever reason; overflows are among them",
    "timeouts": "times that an answer stayed away for a whole retransmission timeout",
    "active_opens": "connections begun from here",
    "passive_opens": "connections accepted here",
    "time_wait_overflow": "sockets that could not wait in TIME_WAIT: tcp_max_tw_buckets is reached",
}
"""By TCP_NAMES. They count the network namespace's own sockets, IPv4 and IPv6 together."""


def meaning(name: str, version: Version | None, told: Collection[str] = ()) -> str:
    """One line about a counter of `conntrack -S` on this kernel; `told` are the counters that the kernel has.

    A kernel that tells a counter means by all what it came with: distributions carry patches back.
    """
    since, words = _BEFORE.get(name, ((0, 0), ""))
    return words if _is_before(version, since, told) else _MODERN.get(name, "")


def _is_before(version: Version | None, since: tuple[int, int], told: Collection[str]) -> bool:
    """An unknown kernel is taken for a modern one."""
    marks = {CLASHES_APART: "clash_resolve", CHAINS_LIMITED: "chaintoolong"}
    return version is not None and version < since and marks.get(since) not in told


def derived(rates: Mapping[str, float] | None, version: Version | None, found_per_new: float | None) -> Derived:
    """What follows from counters of one interval: see `clash_lost`, `table_full` and `lost_syns`.

    `found_per_new` is the interval between two dumps', where new flows are known.
    """
    if rates is None:
        return Derived(found_per_new=found_per_new)
    return Derived(table_full(rates, version), clash_lost(rates, version), lost_syns(rates, version), found_per_new)


def clash_lost(rates: Mapping[str, float], version: Version | None) -> float | None:
    """New flows lost to a clash: d(insert_failed) - d(chaintoolong); None where a counter is missing.

    A chain that is too long counts under both and under nothing else. Before Linux 5.10 `insert_failed` also has the
    clashes that were resolved; those that were not are counted under `drop` as well: the lesser of the two.
    """
    failed, dropped = rates.get("insert_failed"), rates.get("drop")
    if failed is None or dropped is None:
        return None
    if _is_before(version, CLASHES_APART, rates):
        return min(failed, dropped)
    return max(failed - rates.get("chaintoolong", 0.0), 0.0)


def table_full(rates: Mapping[str, float], version: Version | None) -> float | None:
    """Packets dropped for want of room: d(drop) less the drops that are clashes, never below 0.

    That is d(drop) - d(insert_failed) where no chain was too long. A tracker or helper that refuses a packet counts
    here as well, which is rare; the kernel's log has `table full` where it is meant.
    """
    clashes, dropped = clash_lost(rates, version), rates.get("drop")
    return None if clashes is None or dropped is None else max(dropped - clashes, 0.0)


def lost_syns(rates: Mapping[str, float], version: Version | None) -> float | None:
    """New flows whose first packet conntrack refused at the insertion: d(insert_failed), without resolved clashes."""
    return clash_lost(rates, version) if _is_before(version, CLASHES_APART, rates) else rates.get("insert_failed")


def tried(new: float, risen: Mapping[str, float], version: Version | None) -> float:
    """First packets that NAT looked for ports for while the counters rose so far: of new flows, and those lost to a
    clash, which never become a flow."""
    return new + (clash_lost(risen, version) or 0.0)


def found_per_new(new: float, risen: Mapping[str, float], version: Version | None) -> float | None:
    """NAT ports probed in vain for each new flow and each one lost to a clash, while the counters rose so far.

    None where there was neither, or of a kernel that counts other things as found.

    The early warning of port exhaustion. Measured on Linux 6.18 with one remote address and port: about 1 where half of
    the ports are in use, 9 at 90 %, 21 at 95 %, 43 at 98 %, 75 at 99 %, 129 when all are.
    """
    found, flows = risen.get("found"), tried(new, risen, version)
    is_modern = "clash_resolve" in risen or (version is not None and version >= HOTPATH_GONE)
    return found / flows if found is not None and is_modern and flows > 0 else None
