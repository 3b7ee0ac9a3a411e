"""The default routes and those to networks on the link in /proc/net/route and /proc/net/ipv6_route."""

import ipaddress
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

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
    lines4, lines6 = routes.get(ROUTES4, "").splitlines()[1:], routes.get(ROUTES6, "").splitlines()
    found: dict[str, str] = {}
    for lines, read in ((lines4, _linked4), (lines6, _linked6)):
        for line in lines:
            try:
                subnet, gateway, interface = read(line.split())
            except (IndexError, ValueError):
                continue
            if gateway == 0 and subnet.prefixlen:
                found.setdefault(str(subnet), interface)
    return found


def _linked4(words: Sequence[str]) -> tuple[ipaddress.IPv4Network, int, str]:
    """Subnet, gateway and interface of a line; addresses are numbers of the machine's byte order."""
    target, gateway, mask = (int(words[column], 16) for column in (1, 2, 7))
    first = int.from_bytes(target.to_bytes(4, sys.byteorder), "big")
    return ipaddress.IPv4Network((first, mask.bit_count())), gateway, words[0]


def _linked6(words: Sequence[str]) -> tuple[ipaddress.IPv6Network, int, str]:
    return ipaddress.IPv6Network((int(words[0], 16), int(words[1], 16))), int(words[4], 16), words[9]


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
