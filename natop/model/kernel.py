"""What the kernel counts, and the rules by which it changes addresses."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

COUNTER_NAMES = (
    "found",
    "invalid",
    "insert",
    "insert_failed",
    "drop",
    "early_drop",
    "error",
    "search_restart",
    "clash_resolve",
    "chaintoolong",
)
"""The names of `conntrack -S`."""


@dataclass(frozen=True, slots=True)
class Conntrack:
    """The fill of the table and its cumulative counters, all of one netns, summed over CPUs."""

    count: int | None = None
    max: int | None = None
    buckets: int | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    """By COUNTER_NAMES; modulo 2**32; a name is missing where the kernel does not tell it."""
    cpus: tuple[Mapping[str, int], ...] = ()
    """The same counters of each CPU, in the kernel's order."""


@dataclass(frozen=True, slots=True)
class Derived:
    """What follows from several counters, by the rules of `natop.meanings`; None where one of them is unknown."""

    table_full_per_s: float | None = None
    """Packets dropped for no clash: because the table was full or, where it had room, by a tracker or helper."""
    clash_lost_per_s: float | None = None
    """New flows lost because another took the same addresses and ports first."""
    lost_syns_per_s: float | None = None
    """New flows that conntrack refused, whatever for: the host-wide sum of `NetnsTcp.lost_syns_per_s`."""
    found_per_new: float | None = None
    """NAT ports probed in vain for each new flow, and for each one lost to a clash, between the last two dumps."""


NOTHING_DERIVED = Derived()


Version = tuple[int, int]
"""Of a kernel: its major and minor number."""


def kernel_version(release: str | None) -> Version | None:
    """(6, 18) of `6.18.44-amd64`; None where that cannot be told."""
    match = re.match(r"(\d{1,6})\.(\d{1,6})", release or "", re.ASCII)
    return (int(match[1]), int(match[2])) if match else None


TCP_NAMES = (
    "syn_retrans",
    "retrans_segs",
    "out_segs",
    "attempt_fails",
    "listen_overflows",
    "listen_drops",
    "timeouts",
    "active_opens",
    "passive_opens",
    "time_wait_overflow",
)
"""TCP's counters per network namespace, as the JSON document spells them."""


@dataclass(frozen=True, slots=True)
class NetnsTcp:
    """TCP's own testimony of one network namespace: /proc/PID/net/{snmp,netstat,sockstat}."""

    netns: str
    """net:[inode]."""
    counters: Mapping[str, int]
    """Cumulative, by TCP_NAMES; a name is missing where the kernel does not tell it."""
    rates: Mapping[str, float] | None = None
    """Per second since the snapshot before; None on a first reading."""
    sockets_in_use: int | None = None
    time_wait_sockets: int | None = None
    """Sockets in TIME_WAIT (60 s), not conntrack's entries."""
    sysctls: Mapping[str, int | tuple[int, ...]] = field(default_factory=dict)
    """The namespace's own, by last name component, as far as they were read."""
    started_at: str | None = None
    """When the container started whose it is: the number of a namespace that is gone is soon another's."""
    lost_syns_per_s: float | None = None
    """Estimate: its part of the host's insert_failed, shared out by SYN retransmits."""


NATOP_S = "natop_"
"""How the names of the tables begin that natop prints."""


@dataclass(frozen=True, slots=True)
class NatRule:
    """A rule that changes source addresses, as one of the firewall's tools told it."""

    backend: str
    """nft, iptables-nft, iptables-legacy, and their ip6tables fellows."""
    chain: str
    """table and chain, as `nat POSTROUTING` or `ip docker-bridges nat-POSTROUTING`."""
    priority: int
    """Of the hook that the chain is reached from; the lower comes first, and the first rule that matches wins
    (nf_nat_core.c)."""
    action: str
    """MASQUERADE or SNAT."""
    sources: tuple[str, ...] = ()
    """Subnets it is limited to; empty is any."""
    to_address: str | None = None
    """An address, a range a-b, or a prefix; None for MASQUERADE, which takes that of the interface."""
    ports: tuple[int, int] | None = None
    """The NAT source ports it may choose from, a-b, both included; None where it does not limit them."""
    random: bool = False
    fully_random: bool = False
    text: str = ""
    """The rule as its tool spells it."""
    protocols: tuple[str, ...] = ()
    """Those it is limited to, as tcp; empty is any."""

    @property
    def natop_s(self) -> str | None:
        """The table that natop has printed, by its name, where the rule is in one: nft's chains are told as family,
        table, chain."""
        words = self.chain.split()
        return words[1] if len(words) > 1 and words[1].startswith(NATOP_S) else None


@dataclass(frozen=True, slots=True)
class NetworkNat:
    """What becomes of source addresses when containers of one bridge network call out.

    Said of the ordinary packet: unmarked, by the way of the default route, to an address that no rule singles out.
    """

    network: str
    subnet: str
    rule: NatRule | None
    """The first rule that takes TCP; None where none does: routed, or internal."""
    by_protocol: Mapping[str, NatRule | None] = field(default_factory=dict)
    """What takes UDP, by `udp`, where that is another rule."""
    others: tuple[NatRule, ...] = ()
    """Rules before `rule` that take some particular packets, to certain addresses or ports for instance."""
    hairpin: NatRule | None = None
    """The first rule that takes what a container sends to its own published port and Docker's DNAT turns back to it.

    None where docker-proxy answers such calls.
    """
    bridge: str | None = None
    """The interface."""
    internal: bool = False
    beneath: "NetworkNat | None" = None
    """What would become of them without the tables that natop has printed, where one of these takes them first."""

    def rule_of(self, proto: str) -> NatRule | None:
        """The first rule that takes a protocol, by its lower-case name."""
        return self.by_protocol.get(proto, self.rule)


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """A global address of the namespace read."""

    address: str
    interface: str | None
    """The one whose subnet it is in; None where no route tells it, as of an address with a prefix of /32."""


@dataclass(frozen=True, slots=True)
class Firewall:
    """The source-NAT rules of the namespace read."""

    rules: tuple[NatRule, ...]
    """In the order in which the kernel consults them."""
    networks: tuple[NetworkNat, ...] = ()
    """One for each subnet of each of Docker's bridge networks."""
    backend: str | None = None
    """What holds Docker's rules: nftables, iptables-nft, iptables-legacy; None where no rule of Docker's was found."""
    userland_proxy: bool | None = None
    """Whether docker-proxy answers for published ports, as Docker's rule for the host's own packets implies."""
    addresses: tuple[LocalAddress, ...] = ()
    """What SNAT may choose from; Docker's bridges have theirs among them."""
