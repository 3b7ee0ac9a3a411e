"""/proc/net/route and /proc/net/ipv6_route: the default routes, networks on a link, whose link an own address is on."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from natop.model import LocalAddress
from natop.text import clean

ROUTES4 = "net/route"
ROUTES6 = "net/ipv6_route"
UP = 0x1
REJECTED = 0x200
"""RTF_UP and RTF_REJECT, linux/route.h and linux/ipv6_route.h."""

_COLUMNS4 = {"target": 1, "length": 7, "flags": 3, "metric": 6, "interface": 0}
"""net/ipv4/fib_trie.c, fib_route_seq_show; the metric is decimal, the other numbers are hexadecimal."""
_COLUMNS6 = {"target": 0, "length": 1, "flags": 8, "metric": 5, "interface": 9}
"""net/ipv6/route.c, rt6_info_route; all numbers are hexadecimal."""


def uplinks(routes: Mapping[str, str]) -> dict[int, frozenset[str]]:
    """The interfaces of the default routes with the lowest metric, by address family; none where there is none."""
    return {
        4: _nearest(_defaults(routes.get(ROUTES4, "").splitlines()[1:], _COLUMNS4, 10)),
        6: _nearest(_defaults(routes.get(ROUTES6, "").splitlines(), _COLUMNS6, 16)),
    }


def on_link(routes: Mapping[str, str]) -> dict[str, str]:
    """The interface of each network that is reached without a gateway, by its subnet as text."""
    found: dict[str, str] = {}
    for subnet, interface in _links(routes):
        found.setdefault(str(subnet), interface)
    return found


def _nearest(found: Iterable[tuple[int, str]]) -> frozenset[str]:
    routes = list(found)
    least = min(routes, default=(0, ""))[0]
    return frozenset(name for metric, name in routes if metric == least)


def _defaults(lines: Sequence[str], columns: Mapping[str, int], base: int) -> Iterator[tuple[int, str]]:
    """Metric and interface of each default route."""
    for line in lines:
        words = line.split()
        try:
            target, length, flags = (int(words[columns[name]], 16) for name in ("target", "length", "flags"))
            if target == length == 0 and flags & (UP | REJECTED) == UP:
                yield int(words[columns["metric"]], base), words[columns["interface"]]
        except (IndexError, ValueError):
            continue


Address = IPv4Address | IPv6Address
Subnet = IPv4Network | IPv6Network


def local_addresses(routes: Mapping[str, str], addresses: Iterable[str]) -> tuple[LocalAddress, ...]:
    """Those of `addresses` that packets may come from beyond one link, each with the interface of its subnet."""
    links = sorted(_links(routes), key=lambda link: link[0].prefixlen)
    found = (ip_address(each) for each in dict.fromkeys(addresses) if _is_address(each))
    kept = (each for each in found if not (each.is_loopback or each.is_link_local or each.is_multicast))
    return tuple(LocalAddress(str(each), _interface(each, links)) for each in kept)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _interface(address: Address, links: Sequence[tuple[Subnet, str]]) -> str | None:
    """By the longest prefix, which is the last."""
    return next((name for subnet, name in reversed(links) if address in subnet), None)


def _links(routes: Mapping[str, str]) -> Iterator[tuple[Subnet, str]]:
    """The subnets that are reached without a gateway, with their interfaces; no route to a single address."""
    for words in map(str.split, routes.get(ROUTES4, "").splitlines()[1:]):
        try:
            target, gateway, flags, mask = (int(words[column], 16) for column in (1, 2, 3, 7))
            if gateway == 0 and 0 < mask < 0xFFFFFFFF and flags & (UP | REJECTED) == UP:
                yield IPv4Network((_address4(target), str(_address4(mask)))), clean(words[0])
        except (IndexError, ValueError):
            continue
    for words in map(str.split, routes.get(ROUTES6, "").splitlines()):
        try:
            target, length, gateway, flags = (int(words[column], 16) for column in (0, 1, 4, 8))
            if gateway == 0 and 0 < length < 128 and flags & (UP | REJECTED) == UP:
                yield IPv6Network((target, length)), clean(words[9])
        except (IndexError, ValueError):
            continue


def _address4(value: int) -> IPv4Address:
    """From the number that fib_route_seq_show prints of the four bytes as they lie in memory."""
    return IPv4Address(value.to_bytes(4, sys.byteorder))
