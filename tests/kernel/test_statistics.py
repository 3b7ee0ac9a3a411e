"""Counters, fill and rates: `conntrack -S` and `conntrack -C` are the judges, by ctnetlink as well as by /proc."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from natop.collect.host import HostReader
from natop.decode.counters import PROC_FILES, conntrack
from natop.feed import Source, readings
from tests.kernel import product
from tests.kernel.product import WITHOUT_NET_ADMIN
from tests.lab import oracle
from tests.lab.inject import Entry, inject
from tests.lab.netns import Namespace, entered

CLIENTS = [f"10.1.0.{number}" for number in range(2, 12)]
FAR = "10.2.0.2"
ROUTER = """
table ip router {
    chain c {
        type nat hook postrouting priority 100
        oifname != r1 accept
        udp dport 99 masquerade to :5000-5001
        masquerade
    }
}
"""


def taken_port(sources: int, dport: int) -> None:
    """The same source port from several clients to one remote: NAT has to look for another (found)."""
    for source in CLIENTS[:sources]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.bind((source, 7777))
            datagrams.sendto(b"hello", (FAR, dport))


def stray_ack(count: int) -> None:
    """TCP segments of connections that never began (invalid)."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        for number in range(count):
            raw.sendto(struct.pack(">HHIIBBHHH", 1000 + number, 80, 1, 1, 0x50, 0x10, 100, 0, 0), (FAR, 0))


def bad_checksum(count: int) -> None:
    """Echo requests that are damaged (error)."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        for number in range(count):
            raw.sendto(struct.pack(">BBHHH", 8, 0, 0x1234, 1, number), (FAR, 0))


@contextlib.contextmanager
def on_processor(number: int) -> Iterator[None]:
    """Keep the calling thread on one processor, where its packets are counted."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(allowed)[number % len(allowed)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.fixture(scope="module")
def troubled() -> Iterator[Namespace]:
    """A router whose counters have risen on both of two processors."""
    with Namespace("client") as client, Namespace("router") as router, Namespace("far") as far:
        client.link("c0", router, "r0")
        router.link("r1", far, "f0")
        client.address("c0", *(f"{address}/24" for address in CLIENTS))
        router.address("r0", "10.1.0.1/24")
        router.address("r1", "10.2.0.1/24")
        far.address("f0", f"{FAR}/24")
        client.run("ip", "route", "add", "default", "via", "10.1.0.1")
        router.sysctl("net.ipv4.ip_forward", 1)
        router.sysctl("net.netfilter.nf_conntrack_tcp_loose", 0)
        router.sysctl("net.netfilter.nf_conntrack_udp_timeout", 300)
        router.nft(ROUTER)
        inject(router, [Entry(src="10.0.0.1", dst="10.0.0.2", sport=port) for port in range(1, 31)])
        with entered(client):
            with on_processor(0):
                taken_port(sources=len(CLIENTS), dport=53)
                stray_ack(5)
            with on_processor(1):
                taken_port(sources=6, dport=99)
                stray_ack(2)
                bad_checksum(3)
        yield router


@pytest.mark.parametrize("by", [(), WITHOUT_NET_ADMIN], ids=["ctnetlink", "proc"])
def test_counters_are_those_of_conntrack(troubled: Namespace, by: tuple[str, ...]) -> None:
    document = product.snapshot(troubled, "--no-docker", by=by)
    counters = oracle.counters(troubled)
    assert document["conntrack"]["counters"] == counters
    assert [cpu["counters"] for cpu in document["conntrack"]["cpus"]] == oracle.cpu_counters(troubled)
    assert all(cpu["counters"]["invalid"] for cpu in document["conntrack"]["cpus"][:2]), "on both processors"
    assert document["conntrack"]["count"] == oracle.count(troubled)
    assert counters["found"] > 10
    assert (counters["invalid"], counters["insert"], counters["error"]) == (7, 30, 3)
    assert counters["insert_failed"] == counters["drop"] == 4
    assert document["conntrack"]["max"] == int(troubled.sysctl("net.netfilter.nf_conntrack_max"))
    assert document["conntrack"]["buckets"] == int(troubled.sysctl("net.netfilter.nf_conntrack_buckets"))


def test_proc_is_that_of_the_reading_thread_s_namespace(troubled: Namespace) -> None:
    """/proc/net means the namespace of the process's first thread; a screen reads on another."""
    reader = HostReader(PROC_FILES, troubled.path, None)
    with ThreadPoolExecutor(1) as another:
        sample = another.submit(reader.sample, dump=False).result()
    fallback = conntrack(b"", sample.proc)
    assert fallback.counters == oracle.counters(troubled)
    assert fallback.count == oracle.count(troubled)


def test_counters_and_fill_belong_to_the_namespace(namespace: Namespace, troubled: Namespace) -> None:
    assert oracle.count(troubled) > 0
    document = product.snapshot(None, "--netns", namespace.name, "--no-docker")
    assert set(document["conntrack"]["counters"].values()) == {0}
    assert (document["conntrack"]["count"], document["conntrack"]["flows"]) == (0, 0)


def test_sysctls_are_those_of_the_namespace(namespace: Namespace) -> None:
    namespace.sysctl("net.netfilter.nf_conntrack_tcp_timeout_time_wait", 37)
    namespace.sysctl("net.ipv4.ip_local_port_range", "40000 50000")
    namespace.sysctl("net.ipv4.ip_forward", 1)
    sysctls = product.snapshot(None, "--netns", str(namespace.path), "--no-docker")["host"]["sysctls"]
    assert sysctls["nf_conntrack_tcp_timeout_time_wait"] == 37
    assert sysctls["ip_local_port_range"] == [40000, 50000]
    assert sysctls["ip_forward"] == 1


def test_rates_are_what_changed_in_the_interval(namespace: Namespace) -> None:
    inject(namespace, [Entry(src="10.0.0.1", dst="10.0.0.2", sport=port) for port in range(1, 101)])
    taken = readings(Source(namespace.name), 0.5, 3)
    first = next(taken)
    assert (first.interval_s, first.counter_rates) == (None, None)
    assert first.whole is not None
    assert first.whole.rates is None
    namespace.run("conntrack", "-D", "-p", "tcp", "--sport", "7")
    inject(namespace, [Entry(src="10.0.0.1", dst="10.0.0.3", sport=port, state=7) for port in range(1, 41)])
    second, third = taken
    for snapshot, counted in ((second, (40, 40, 1, 40)), (third, (0, 0, 0, 0))):
        seconds = snapshot.interval_s
        assert seconds is not None
        assert 0.4 < seconds < 10
        assert snapshot.counter_rates is not None
        assert snapshot.whole is not None
        assert snapshot.whole.rates is not None
        rates = snapshot.whole.rates
        per_second = (snapshot.counter_rates["insert"], rates.new, rates.gone, rates.time_wait)
        assert per_second == pytest.approx(tuple(number / seconds for number in counted))
