"""`python -m tests.lab.record`: bytes of a real kernel into tests/data, with what conntrack-tools say about them.

The tests without a kernel read these files. Each dump is taken while the table stands still, between two listings by
conntrack(8) that agree, so that even the seconds left are exact.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import oracle, traffic
from tests.lab.inject import Entry, inject
from tests.lab.netns import Namespace, entered
from tests.lab.traffic import Responder

DATA = Path(__file__).parent.parent / "data"
NETLINK_NETFILTER = 12
CT_GET, CT_GET_STATS_CPU, CT_GET_STATS = 0x0101, 0x0104, 0x0105
REQUEST, DUMP = 0x001, 0x300
DONE = 3

RULES = """
table inet recorded {
  ct helper ftp { type "ftp" protocol tcp; l3proto ip; }
  chain helpers { type filter hook output priority filter; tcp dport 21 ct helper set "ftp"; }
  chain incoming { type nat hook prerouting priority dstnat; ip daddr 10.7.0.1 tcp dport 8080 dnat ip to 10.7.1.2:80; }
  chain leaving { type nat hook postrouting priority srcnat; oifname "out" masquerade; }
}
"""
INJECTED = (
    Entry(
        src="172.18.0.3", dst="198.51.100.7", dport=443, state=7, timeout_s=119, snat="203.0.113.10", snat_port=50000
    ),
    Entry(src="100.64.0.9", dst="203.0.113.10", dport=8080, dnat="172.18.0.2", dnat_port=80, mark=0x8000_0001),
    Entry(src="172.18.0.3", dst="172.18.0.2", state=5, timeout_s=60, zone=7),
    Entry(src="fd00:18::3", dst="2001:db8::7", dport=443, state=1, timeout_s=120),
    Entry(src="fd00:18::3", dst="fd00:18::2", proto="udp", dport=53),
    Entry(src="172.18.0.4", dst="198.51.100.53", proto="udp", dport=53, timeout_s=30),
    Entry(src="172.18.0.4", dst="198.51.100.7", proto="icmp", sport=77, timeout_s=30),
    Entry(src="fd00:18::4", dst="2001:db8::7", proto="icmpv6", sport=78, timeout_s=30),
    Entry(src="172.18.0.5", dst="198.51.100.7", proto="sctp", dport=3868, state=4),
    Entry(src="172.18.0.5", dst="198.51.100.7", proto="gre", sport=1, dport=2),
    Entry(src="172.18.0.5", dst="198.51.100.7", proto="udplite", dport=7000),
)
"""Entries of every protocol, made by ctnetlink: the kernel's layouts without traffic."""


def main() -> int:
    """Record all files anew."""
    DATA.mkdir(exist_ok=True)
    with Namespace("record") as namespace:
        inject(namespace, INJECTED)
        _write("injected", namespace)
    with _lively() as host:
        inject(host, INJECTED[:3])
        _write("traffic", host)
        _write_statistics(host)
    return 0


@contextmanager
def _lively() -> Iterator[Namespace]:
    """A host with accounting, time stamps, NAT and a helper, over which real traffic went."""
    with Namespace("record") as host, Namespace("record") as inside, Namespace("record") as outside:
        for name in ("nf_conntrack_acct", "nf_conntrack_timestamp"):
            host.sysctl(f"net.netfilter.{name}", 1)
        host.sysctl("net.ipv4.ip_forward", 1)
        host.sysctl("net.ipv6.conf.all.forwarding", 1)
        host.link("in", inside, "eth0")
        host.link("out", outside, "eth0")
        host.address("in", "10.7.1.1/24", "fd07:1::1/64")
        host.address("out", "10.7.0.1/24", "fd07::1/64")
        inside.address("eth0", "10.7.1.2/24", "fd07:1::2/64")
        outside.address("eth0", "10.7.0.2/24", "fd07::2/64")
        inside.run("ip", "route", "add", "default", "via", "10.7.1.1")
        inside.run("ip", "-6", "route", "add", "default", "via", "fd07:1::1")
        host.nft(RULES)
        with (
            Responder(inside, ["10.7.1.2"], [80]),
            Responder(outside, ["10.7.0.2", "fd07::2"], [21, 80, 443, 5353]),
            traffic.hold(inside, "10.7.0.2", 443, 2),
            traffic.hold(inside, "fd07::2", 443, 1),
            traffic.hold(host, "10.7.0.2", 21, 1),
            traffic.hold(outside, "10.7.0.1", 8080, 1),
        ):
            traffic.get(inside, "10.7.0.2", 80, 3)
            traffic.get(outside, "10.7.0.1", 8080, 2)
            traffic.exchange(inside, "10.7.0.2", 5353, 2)
            traffic.exchange(inside, "fd07::2", 5353, 1)
            traffic.reset(inside, "10.7.0.2", 80)
            traffic.knock(inside, "10.7.0.99", 80)
            _collide(inside)
            with entered(inside), socket.socket(socket.AF_INET, socket.SOCK_RAW, 2) as igmp:
                igmp.sendto(b"\x16\0\x09\x04\xe0\0\0\xfb", ("10.7.0.2", 0))
            yield host


def _collide(inside: Namespace) -> None:
    """Two connections from one source port of two addresses, which masquerading must tell apart: `found` counts it."""
    inside.address("eth0", "10.7.1.3/24")
    for address in ("10.7.1.2", "10.7.1.3"):
        with entered(inside), socket.create_connection(("10.7.0.2", 80), 10, (address, 45000)) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            while connection.recv(4096):
                pass


def _write(name: str, namespace: Namespace) -> None:
    """NAME.bin, the raw dump, and NAME.json, its flows by conntrack(8)."""
    for _ in range(50):
        before, data, after = oracle.flows(namespace), ask(namespace, CT_GET, DUMP), oracle.flows(namespace)
        if _by_id(before) == _by_id(after):
            break
        time.sleep(0.05)
    else:
        raise TimeoutError("the table did not stand still")
    (DATA / f"{name}.bin").write_bytes(data)
    lines = ",\n  ".join(json.dumps(flow) for flow in _by_id(after).values())
    (DATA / f"{name}.json").write_text(f"[\n  {lines}\n]\n")
    print(f"{name}: {len(after)} flows, {len(data)} bytes", file=sys.stderr)


def _write_statistics(namespace: Namespace) -> None:
    """statistics.bin: the replies to CT_GET_STATS and CT_GET_STATS_CPU, and what `conntrack -S` and `-C` say."""
    data = ask(namespace, CT_GET_STATS) + ask(namespace, CT_GET_STATS_CPU, DUMP)
    expected = {"count": oracle.count(namespace), "counters": oracle.counters(namespace)}
    (DATA / "statistics.bin").write_bytes(data)
    (DATA / "statistics.json").write_text(json.dumps(expected, indent=2) + "\n")
    with entered(namespace):
        text = Path("/proc/thread-self/net/stat/nf_conntrack").read_text()
    (DATA / "statistics.txt").write_text(text)


def ask(namespace: Namespace, message: int, flags: int = 0) -> bytes:
    """The kernel's whole answer to a request without attributes."""
    with entered(namespace):
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    with netlink:
        netlink.settimeout(10)
        netlink.send(struct.pack("=IHHIIBBH", 20, message, REQUEST | flags, 1, 0, 0, 0, 0))
        answer = netlink.recv(1 << 16)
        while flags and not _ends(answer):
            answer += netlink.recv(1 << 16)
    return answer


def _ends(answer: bytes) -> bool:
    """Whether the last message is NLMSG_DONE."""
    at, kind = 0, 0
    while at < len(answer):
        length, kind = struct.unpack_from("=IH", answer, at)
        at += (length + 3) & ~3
    return kind == DONE


def _by_id(flows: list[oracle.Flow]) -> dict[int, oracle.Flow]:
    return {flow["id"]: flow for flow in sorted(flows, key=lambda flow: (flow["number"], flow["family"], flow["id"]))}


if __name__ == "__main__":
    sys.exit(main())
