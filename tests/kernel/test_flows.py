"""Every field of every flow, whatever its protocol, is what `conntrack -L` tells about the same table."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.kernel import product
from tests.kernel.judge import assert_same
from tests.lab import oracle, traffic
from tests.lab.inject import PROTOCOLS, REPLIED, SCTP_STATES, SEEN_REPLY, TCP_STATES, UNREPLIED, Entry, inject
from tests.lab.netns import Namespace, entered
from tests.lab.traffic import Responder

V4: dict[str, Any] = {"src": "10.0.0.1", "dst": "10.0.0.2"}
V6: dict[str, Any] = {"src": "fd00::1", "dst": "fd00::2"}
NEAR, FAR = "198.18.9.1", "198.18.9.2"
NEAR_6, FAR_6 = "fd00:9::1", "fd00:9::2"
FIXED_TIMEOUT = 1 << 10  # IPS_FIXED_TIMEOUT
UNKNOWN = 253  # an IP protocol for experiments (RFC 3692), which conntrack does not know

TRACKED = "table inet tracked { chain c { type filter hook output priority 0; ct state new accept; }\n}"


def every_state(ends: dict[str, Any], proto: str, states: int) -> list[Entry]:
    """One entry in each of a protocol's states, told apart by their source ports."""
    return [Entry(**ends, proto=proto, state=state, sport=1000 + state) for state in range(states)]


TABLES: dict[str, list[Entry]] = {
    "tcp": every_state(V4, "tcp", len(TCP_STATES)),
    "tcp over IPv6": every_state(V6, "tcp", len(TCP_STATES)),
    "sctp": every_state(V4, "sctp", len(SCTP_STATES)),
    "sctp over IPv6": every_state(V6, "sctp", len(SCTP_STATES)),
    "protocols": [Entry(**V4, proto=proto) for proto in PROTOCOLS if proto != "icmpv6"],
    "protocols over IPv6": [Entry(**V6, proto=proto) for proto in PROTOCOLS if proto != "icmp"],
    "unanswered": [
        *(Entry(**V4, proto=proto, state=1, status=UNREPLIED) for proto in ("tcp", "udp", "icmp")),
        *(Entry(**V6, proto=proto, state=1, status=UNREPLIED) for proto in ("tcp", "udp", "icmpv6")),
    ],
    "answered, not assured": [Entry(**V4, proto="udp", status=SEEN_REPLY), Entry(**V6, state=2, status=SEEN_REPLY)],
    "dnat": [
        Entry(**V4, sport=1, dnat="10.9.0.9"),
        Entry(**V4, sport=2, dnat="10.9.0.9", dnat_port=8080),
        Entry(**V4, proto="udp", dnat="10.9.0.9", dnat_port=53),
        Entry(**V6, sport=1, dnat="fd09::9", dnat_port=8080),
    ],
    "snat": [
        Entry(**V4, sport=1001, snat="10.9.0.9"),
        Entry(**V4, sport=1002, snat="10.9.0.9", snat_port=61000),
        Entry(**V4, proto="icmp", snat="10.9.0.9", snat_port=7),
        Entry(**V6, sport=1001, snat="fd09::9", snat_port=61000),
    ],
    "both ends": [Entry(**V4, dnat="10.9.0.9", snat="10.9.0.1"), Entry(**V6, dnat="fd09::9", snat="fd09::1")],
    "zones": [Entry(**V4, zone=zone) for zone in (0, 1, 256, 0xFFFF)],
    "marks": [Entry(**V4, sport=9 + index, mark=mark) for index, mark in enumerate((0, 1, 0x1234_5678, 0xFFFF_FFFF))],
    "timeouts": [Entry(**V4, sport=9 + index, timeout_s=left) for index, left in enumerate((60, 3600, 432_000))],
    "ports": [Entry(**V4, sport=port, dport=65536 - port) for port in (1, 255, 256, 32768, 65535)],
    "addresses": [
        Entry(src="0.0.0.1", dst="255.255.255.254"),
        Entry(src="192.168.255.1", dst="8.8.8.8"),
        Entry(src="2001:db8:1:2:3:4:5:6", dst="::1"),
        Entry(src="fe80::ff:fe00:1", dst="ff02::fb", proto="udp"),
    ],
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_is_told_as_conntrack_tells_it(namespace: Namespace, kind: str) -> None:
    assert inject(namespace, TABLES[kind]) == len(TABLES[kind])
    taken = product.read(namespace)
    assert_same(product.rows(taken), oracle.flows(namespace))
    assert taken.reading is not None
    assert (taken.reading.skipped.messages, taken.reading.skipped.attributes) == (0, 0)
    assert taken.gaps == ()


def test_all_of_them_in_one_table(namespace: Namespace) -> None:
    """Tables that hold the same tuples lie in different zones."""
    for number, entries in enumerate(TABLES.values()):
        inject(namespace, [replace(entry, zone=entry.zone or 100 + number) for entry in entries])
    assert_same(product.rows(product.read(namespace)), oracle.flows(namespace))


def test_an_empty_table(namespace: Namespace) -> None:
    taken = product.read(namespace)
    assert product.rows(taken) == []
    assert taken.whole is not None
    assert taken.whole.counts.total == 0
    assert taken.gaps == ()


def test_the_zone_of_the_original_direction(namespace: Namespace) -> None:
    ends = ("-s", "10.0.0.1", "-p", "udp", "--sport", "5", "--dport", "6", "-t", "100")
    for option, zone in (("--orig-zone", 5), ("--reply-zone", 6), ("--zone", 7)):
        namespace.run("conntrack", "-I", *ends, "-d", f"10.0.0.{zone}", option, str(zone))
    zones = {row["orig"]["dst"]: row["zone"] for row in product.rows(product.read(namespace))}
    assert zones == {"10.0.0.5": 5, "10.0.0.6": 0, "10.0.0.7": 7}


def test_a_fixed_timeout_is_a_status(namespace: Namespace) -> None:
    inject(namespace, [Entry(**V4), Entry(**V6, status=REPLIED | FIXED_TIMEOUT)])
    assert told_with("FIXED_TIMEOUT", namespace) == listed("FIXED_TIMEOUT", namespace) == 1


def told_with(status: str, namespace: Namespace) -> int:
    """How many flows natop tells with a status bit."""
    return sum(status in row["status"] for row in product.rows(product.read(namespace)))


def listed(status: str, namespace: Namespace) -> int:
    """How many flows `conntrack -L -u STATUS` lists, of both families."""
    lists = [namespace.run("conntrack", "-L", "-f", family, "-u", status).stdout for family in ("ipv4", "ipv6")]
    return sum(len(text.splitlines()) for text in lists)


@contextlib.contextmanager
def neighbour(namespace: Namespace) -> Iterator[Namespace]:
    """A second namespace on a cable to the first, which tracks what it sends."""
    with Namespace("far") as far:
        namespace.link("near", far, "far")
        namespace.address("near", f"{NEAR}/30", f"{NEAR_6}/64")
        far.address("far", f"{FAR}/30", f"{FAR_6}/64")
        namespace.nft(TRACKED)
        yield far


def test_unknown_protocols_have_no_ports(namespace: Namespace) -> None:
    with neighbour(namespace), entered(namespace):
        for family, address in ((socket.AF_INET, FAR), (socket.AF_INET6, FAR_6)):
            with socket.socket(family, socket.SOCK_RAW, UNKNOWN) as raw:
                raw.sendto(b"hello", (address, 0))
    told = [row for row in product.rows(product.read(namespace)) if row["proto"] == str(UNKNOWN)]
    assert {row["orig"]["dst"] for row in told} == {FAR, FAR_6}
    assert_same(told, [flow for flow in oracle.flows(namespace) if flow["number"] == UNKNOWN])


@pytest.mark.parametrize(("accounting", "timestamps"), [(1, 0), (0, 1), (1, 1)])
def test_packets_bytes_and_start_of_real_traffic(namespace: Namespace, accounting: int, timestamps: int) -> None:
    namespace.sysctl("net.netfilter.nf_conntrack_acct", accounting)
    namespace.sysctl("net.netfilter.nf_conntrack_timestamp", timestamps)
    with neighbour(namespace) as far, Responder(far, (FAR, FAR_6), (80,)):
        assert traffic.get(namespace, FAR, 80, 2) == traffic.get(namespace, FAR_6, 80, 2) == 2
        assert traffic.exchange(namespace, FAR, 80, 2) == 2
        with traffic.hold(namespace, FAR_6, 80, 2):
            table = oracle.quiet(namespace)
            told = product.rows(product.read(namespace))
    assert_same(told, table)
    tcp = [row for row in told if row["proto"] == "tcp"]
    assert len(tcp) == 6
    assert all((row["packets"] or 0) >= 5 * accounting and bool(row["bytes"]) == bool(accounting) for row in tcp)
    assert all(bool(row["started_at"]) == bool(timestamps) for row in tcp)


def test_accounting_switched_on_later_counts_only_new_flows(namespace: Namespace) -> None:
    """In a table that arrives in several blocks, with flows of both sorts in each."""
    before, after = range(1, 8001), range(8001, 8101)
    inject(namespace, [Entry(**V4, sport=port) for port in before] + [Entry(**V6, sport=1)])
    namespace.sysctl("net.netfilter.nf_conntrack_acct", 1)
    namespace.sysctl("net.netfilter.nf_conntrack_timestamp", 1)
    inject(namespace, [Entry(**V4, sport=port) for port in after] + [Entry(**V6, sport=8001)])
    told = product.rows(product.read(namespace))
    assert_same(told, oracle.flows(namespace))
    counted = {row["orig"]["sport"] for row in told if row["packets"] is not None}
    assert counted == {row["orig"]["sport"] for row in told if row["started_at"]} == set(after)


PASSIVE = "227 Entering Passive Mode ({},{},{}).\r\n"
FTP = """
table inet extras {
    ct helper ftp { type "ftp" protocol tcp; }
    chain first { type filter hook output priority -150; tcp dport 21 ct helper set "ftp"; ct label set 3; }
}
"""


def test_a_helper_s_expected_flow_and_labels(namespace: Namespace) -> None:
    """Attributes beyond the usual ones (CTA_HELP, CTA_LABELS, CTA_TUPLE_MASTER) disturb no other field."""
    with neighbour(namespace) as far, Responder(far, (FAR,), (2121,)), ftp_server(far):
        namespace.nft(FTP)
        with traffic.connect(namespace, FAR, 21) as control:
            assert control.recv(256).startswith(b"220")
            control.sendall(b"PASV\r\n")
            assert control.recv(256).startswith(b"227")
            with traffic.hold(namespace, FAR, 2121, 1):
                assert told_with("EXPECTED", namespace) == listed("EXPECTED", namespace) == 1
                taken = product.read(namespace)
                assert_same(product.rows(taken), oracle.flows(namespace))
    assert "helper=ftp" in namespace.run("conntrack", "-L", "-p", "tcp", "-o", "extended").stdout
    assert taken.reading is not None
    assert taken.reading.skipped.attributes == 0


@contextlib.contextmanager
def ftp_server(far: Namespace) -> Iterator[None]:
    """A server on port 21 that answers one line of one client: the address and port of the data to come."""
    with entered(far), socket.create_server((FAR, 21)) as listener:
        listener.settimeout(10)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(10)
                connection.sendall(b"220 welcome\r\n")  # the helper reads what follows a line's end
                if connection.recv(256):
                    connection.sendall(PASSIVE.format(FAR.replace(".", ","), *divmod(2121, 256)).encode())
                    connection.recv(256)

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        yield
        server.join(10)
