"""Addresses that the kernel looked for by ARP, and who did not answer."""

from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address

ARP_FILE = "net/arp"
"""Below /proc; of IPv4 alone (net/ipv4/arp.c, arp_seq_show)."""
COMPLETE = 0x2
"""ATF_COM of linux/if_arp.h: the kernel has a hardware address that it holds for valid."""


def unanswered(text: str) -> frozenset[str]:
    """The IPv4 addresses that were asked for, and that nobody answered for.

    One that stops answering is among them once the kernel has asked again: up to a minute after the last answer, and
    only where packets go there.
    """
    return frozenset(str(address) for address, flags in _entries(text) if not flags & COMPLETE)


def _entries(text: str) -> Iterator[tuple[IPv4Address, int]]:
    """Address and flags of each line that can be read."""
    for line in text.splitlines()[1:]:
        address, _, flags, *_ = [*line.split(), "", "", ""]
        with suppress(ValueError):
            yield IPv4Address(address), int(flags, 16)
