"""Three namespaces to probe in, and faults on their way.

    inside 10.9.0.2 ──veth── 10.9.0.1 router 198.18.5.1 ──veth── 198.18.5.2 outside

The router gives calls from inside the address 198.18.5.3; its own keep 198.18.5.1.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from natop.collect.prober import Manners, Prober
from natop.model import Aim, ProbePath, ProbeResult, ProbeWay
from tests.lab.netns import Namespace, entered

INSIDE, ROUTER, NATTED, OUTSIDE = "10.9.0.2", "198.18.5.1", "198.18.5.3", "198.18.5.2"
NAT = f"""
table ip nat {{
    chain postrouting {{
        type nat hook postrouting priority srcnat
        ip saddr 10.9.0.0/24 oifname pub0 snat to {NATTED}
    }}
}}
"""


@dataclass
class Net:
    """The three namespaces, and sockets that listen in them."""

    inside: Namespace
    router: Namespace
    outside: Namespace
    stack: ExitStack = field(default_factory=ExitStack)

    def listen(self, *ports: int, place: Namespace | None = None, backlog: int = 128) -> list[socket.socket]:
        """The kernel answers for them; nobody accepts."""
        found = []
        for port in ports:
            with entered(place or self.outside):
                server = socket.socket()
            self.stack.enter_context(server)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("0.0.0.0", port))
            server.listen(backlog)
            found.append(server)
        return found

    def probed(self, *aims: Aim, rounds: int = 1, timeout_s: float = 10, polite: bool = False) -> list[ProbeResult]:
        """The results of so many rounds, called where the router is, by target and way."""
        with closing(Prober(Manners(2.0, timeout_s, polite), self.router.path)) as prober:
            prober.aim(aims, rounds)
            prober.wait()
            return sorted(prober.take(), key=lambda each: (each.target, each.path, each.at))

    def pair(self, port: int) -> Aim:
        """The world outside called from the router and, in the same second, from inside."""
        target = f"{OUTSIDE}:{port}"
        router = ProbeWay(ProbePath.HOST, target, OUTSIDE, port)
        inside = ProbeWay(ProbePath.NETNS, target, OUTSIDE, port, "id", "app", str(self.inside.path))
        return Aim(target, (router, inside))


def to(host: str, port: int) -> Aim:
    target = f"{host}:{port}"
    return Aim(target, (ProbeWay(ProbePath.HOST, target, host, port),))


@contextmanager
def net() -> Iterator[Net]:
    with Namespace("inside") as inside, Namespace("router") as router, Namespace("outside") as outside:
        inside.link("eth0", router, "br0")
        router.link("pub0", outside, "eth0")
        inside.address("eth0", f"{INSIDE}/24")
        router.address("br0", "10.9.0.1/24")
        router.address("pub0", f"{ROUTER}/24", f"{NATTED}/24")
        outside.address("eth0", f"{OUTSIDE}/24")
        inside.run("ip", "route", "add", "default", "via", "10.9.0.1")
        router.sysctl("net.ipv4.ip_forward", 1)
        router.nft(NAT)
        made = Net(inside, router, outside)
        with made.stack:
            yield made


def rules(place: Namespace, hook: str, *lines: str) -> None:
    """A filter of the test's own; `first N` in a rule takes its first N packets, and counts them."""
    body = "\n".join(re.sub(r"first (\d+)", r"numgen inc mod 1000000 < \1 counter", line) for line in lines)
    place.nft(f"table ip faults {{\nchain {hook} {{\ntype filter hook {hook} priority 0\n{body}\n}}\n}}\n")


def counter(place: Namespace, name: str) -> int:
    """One of TCP's counters of a namespace, as /proc/net/netstat has it."""
    with entered(place):
        names, values = (line.split() for line in Path("/proc/thread-self/net/netstat").read_text().splitlines()[:2])
    return int(values[names.index(name)])


def sockets(place: Namespace, state: str) -> int:
    """Sockets in a state, by sock_diag as ss(8) asks it."""
    return len(place.run("ss", "-Htan", "state", state).stdout.splitlines())
