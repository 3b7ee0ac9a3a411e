"""A Docker-like host to provoke faults on: containers on a bridge, MASQUERADE, published ports, a world outside.

    web, app ──veth── br-shop 172.31.0.1 [host] 198.18.40.1 ──veth── 198.18.40.2, .3 [outside]

Containers are namespaces with one process each, and an engine on a unix socket tells of them. natop reads the host as a
process (`doctor`) or at instants that the test chooses (`Watch`).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Self

from natop.collect.engine import Target
from natop.demo.shapes import DemoContainer, DemoEndpoint, DemoNetwork
from natop.export.report import as_json
from natop.feed import PATIENCE_S, Source
from natop.model import Snapshot
from natop.observe import observe
from tests.kernel import product
from tests.lab.netns import Namespace, entered, wait_until
from tests.unit.changing import EngineServer, Inventory

BRIDGE, SUBNET, GATEWAY = "br-shop", "172.31.0.0/24", "172.31.0.1"
OUTSIDE = "198.18.40.1"
"""The host's own address, which masquerade takes."""
FAR, FAR_TOO = "198.18.40.2", "198.18.40.3"
ADDRESSES = {"web": "172.31.0.2", "app": "172.31.0.3"}
WEB_PORT, DNS_PORT = 8080, 5300
"""Published: TCP to web's 80, UDP to web's 53."""
NAT = """
table ip shop {{
    chain post {{
        type nat hook postrouting priority 100
        ip saddr {subnet} oifname != "{bridge}" counter masquerade
    }}
    chain pre {{
        type nat hook prerouting priority -100
        ip daddr {outside} tcp dport {web_port} dnat to {web}:80
        ip daddr {outside} udp dport {dns_port} dnat to {web}:53
    }}
}}
"""
WATCH_S = 1.05
"""natop tells no rates over less than a second."""
HOST = "host"
Finding = dict[str, Any]
Told = dict[str, Any]


class FaultHost:
    """The namespaces, wired, and the engine, until the `with` block ends."""

    def __init__(self, folder: Path) -> None:
        self.host, self.outside = Namespace("host"), Namespace("outside")
        self.inside = {name: Namespace(name) for name in ADDRESSES}
        self.network = DemoNetwork("shop", SUBNET, GATEWAY, options={"com.docker.network.bridge.name": BRIDGE})
        self.engine = EngineServer(folder / "docker.sock", Inventory((), (self.network,)))
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Build everything, or nothing."""
        with contextlib.ExitStack() as stack:
            for place in (self.host, self.outside, *self.inside.values()):
                stack.enter_context(place)
            self._wire()
            for name, place in self.inside.items():
                self.plug(place, ADDRESSES[name])
                self.run(name, place, ADDRESSES[name])
            self.engine.start()
            stack.callback(self.engine.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _wire(self) -> None:
        self.host.link("out", self.outside, "eth0")
        self.host.address("out", f"{OUTSIDE}/24")
        self.outside.address("eth0", f"{FAR}/24", f"{FAR_TOO}/24")
        self.host.run("ip", "link", "add", BRIDGE, "type", "bridge")
        self.host.address(BRIDGE, f"{GATEWAY}/24")
        self.host.sysctl("net.ipv4.ip_forward", 1)
        self.publish(ADDRESSES["web"])

    def publish(self, web: str) -> None:
        """Load the NAT rules, with the published ports leading to this address of web's."""
        rules = NAT.format(subnet=SUBNET, bridge=BRIDGE, outside=OUTSIDE, web=web, web_port=WEB_PORT, dns_port=DNS_PORT)
        self.host.nft(f"table ip shop\ndelete table ip shop\n{rules}")

    def plug(self, place: Namespace, address: str) -> None:
        """Join a namespace to the bridge."""
        end = _plug(address)
        place.link("eth0", self.host, end)
        self.host.run("ip", "link", "set", end, "master", BRIDGE, "up")
        place.address("eth0", f"{address}/24")
        place.run("ip", "route", "add", "default", "via", GATEWAY)

    def unplug(self, address: str) -> None:
        """Take the namespace with that address off the bridge; sockets in it may outlive that."""
        self.host.run("ip", "link", "delete", _plug(address))

    def run(self, name: str, place: Namespace, address: str, **fields: Any) -> DemoContainer:
        """Start a container: a process in a namespace, and the engine's word of it."""
        pid = place.start("sleep", "1000")
        wait_until(lambda: is_inside(pid, place), what="the process to be in its namespace")
        given: dict[str, Any] = {"sandbox_key": str(place.path), "endpoints": (DemoEndpoint("shop", address),)}
        made = DemoContainer(name, pid, **given | fields)
        self.engine.inventory.add(made)
        return made

    @property
    def source(self) -> Source:
        return Source(str(self.host.path), Target(self.engine.url))

    def doctor(self, for_s: float = 1.2) -> Told:
        """What `natop doctor` prints as a process of its own."""
        options = ("--for", str(for_s), "--format", "json", "--netns", self.host.name, "--docker-host", self.engine.url)
        done = product.natop(None, "doctor", *options)
        assert (done.returncode, done.stderr) == (0, "")
        told: Told = json.loads(done.stdout)
        return told


def _plug(address: str) -> str:
    """The host's end of the link to that address."""
    return f"v{address.rpartition('.')[2]}"


def is_inside(pid: int, place: Namespace) -> bool:
    """Whether a process has arrived in a namespace."""
    with contextlib.suppress(OSError):
        return os.path.samefile(f"/proc/{pid}/ns/net", place.path)
    return False


class Watch:
    """natop's readings of a host, each beside the one before, as `natop doctor` takes them; the test is its clock."""

    def __init__(self, host: FaultHost) -> None:
        """Read for the first time, with the engine's and the firewall's answers."""
        self._reader = host.source.open(follow=True)
        self.snapshot: Snapshot | None = None
        self._begun = 0.0

    def __enter__(self) -> Self:
        self._reader.wait_for_answers(PATIENCE_S)
        self._begun = time.monotonic()
        self.look()
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def look(self) -> Snapshot:
        """One more reading, with its flows."""
        self.snapshot = observe(self.snapshot, self._reader.sample(dump=True))
        return self.snapshot

    def verdict(self) -> Told:
        """The document of `natop doctor` after one more reading, more than a second after the first."""
        time.sleep(max(0.0, self._begun + WATCH_S - time.monotonic()))
        snapshot = self.look()
        told: Told = json.loads("".join(as_json(snapshot, time.monotonic() - self._begun)))
        return told


def grave(told: Told) -> list[tuple[str, str]]:
    """Rule and subject of what is above info; two causes of one symptom must never stand side by side."""
    return [(each["rule"], each["subject"]) for each in told["findings"] if each["severity"] != "info"]


def rules(told: Told) -> list[str]:
    """All rules that speak, in order."""
    return [each["rule"] for each in told["findings"]]


def the(told: Told, rule: str) -> Finding:
    """The one finding of a rule."""
    (found,) = (each for each in told["findings"] if each["rule"] == rule)
    return dict(found)


def number_behind(finding: Finding, label: str) -> int:
    """The number behind `LABEL +` in the finding's evidence."""
    texts = [each.partition(f"{label} +")[2] for each in finding["evidence"] if f"{label} +" in each]
    assert len(texts) == 1, finding["evidence"]
    return int(texts[0].split()[0].rstrip(":;,").replace(",", ""))


def quiet(told: Told, but: Collection[str] = ()) -> None:
    """Assert that nothing is above info, and that no rule but these speaks of anything but blind spots."""
    assert told["verdict"]["severity"] is None, told["findings"]
    assert set(rules(told)) <= {"blind-spots", *but}, told["findings"]


def counted(place: Namespace, table: str) -> int:
    """Packets that the one counter of a table of the test's own has counted."""
    listing = json.loads(place.run("nft", "-j", "list", "table", "ip", table).stdout)
    lines = [each["rule"] for each in listing["nftables"] if "rule" in each]
    (count,) = (part["counter"]["packets"] for line in lines for part in line["expr"] if "counter" in part)
    return int(count)


@contextlib.contextmanager
def knocking(place: Namespace, end: tuple[str, int], count: int, first_port: int = 0) -> Iterator[list[socket.socket]]:
    """So many connects under way, whose SYNs come again until the block ends; nothing is waited for.

    They are from that port and those after it, where one is named.
    """
    with contextlib.ExitStack() as stack:
        with entered(place):
            callers = [stack.enter_context(socket.socket()) for _ in range(count)]
        for number, each in enumerate(callers):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            each.setblocking(False)
            if first_port:
                each.bind(("", first_port + number))
            each.connect_ex(end)
        yield callers


def listener(place: Namespace, end: tuple[str, int], backlog: int = 128) -> socket.socket:
    """A listening socket that accepts nobody by itself; the caller closes it."""
    with entered(place):
        return socket.create_server(end, backlog=backlog)


def connected(callers: list[socket.socket]) -> int:
    """How many of these have been answered."""
    return sum(each.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1 for each in callers)
