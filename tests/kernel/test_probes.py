"""Probes against a real kernel: SYNs lost on purpose, a pool without ports, a full accept queue, what stays behind."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from natop.collect.prober import Manners, Prober
from natop.collect.schedule import MOST_PER_S
from natop.feed import LiveFeed, Source
from natop.model import ProbeTarget, Snapshot
from natop.probing import ProbeWish
from natop.summarise.probed import waited_ms
from tests.kernel import product
from tests.kernel.probenet import INSIDE, NAT, NATTED, OUTSIDE, ROUTER, Net, counter, rules, sockets, to
from tests.lab import oracle, traffic
from tests.lab.inject import Entry, inject
from tests.lab.netns import Namespace, wait_until

LOSSES = (0, 1, 2, 3)
FIRST_PORT = 9000  # the port that loses no SYN; 9001 loses one, and so on
UNPRIVILEGED = (
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--bounding-set=-all",
    "--inh-caps=-all",
    "--",
)


# Lost SYNs


@pytest.mark.parametrize("linear", [4, 0])
def test_it_says_exactly_how_many_syns_were_lost(net: Net, linear: int) -> None:
    net.router.sysctl("net.ipv4.tcp_syn_linear_timeouts", linear)
    ports = [FIRST_PORT + lost for lost in LOSSES]
    net.listen(*ports)
    syn = "tcp flags & (syn | ack) == syn"
    rules(net.outside, "input", *(f"tcp dport {FIRST_PORT + lost} {syn} first {lost} drop" for lost in LOSSES[1:]))
    before = counter(net.router, "TCPSynRetrans")
    results = net.probed(*(to(OUTSIDE, port) for port in ports))
    assert [each.error for each in results] == [None] * 4
    assert [each.syns_lost for each in results] == list(LOSSES)
    assert {each.linear_timeouts for each in results} == {linear}
    waits = (0, 1000, 2000, 3000) if linear else (0, 1000, 3000, 7000)
    assert tuple(waited_ms(each) for each in results) == waits
    for each, wait in zip(results, waits, strict=True):
        assert each.connect_ms is not None
        assert wait <= each.connect_ms < wait + 900
        assert each.rtt_ms is not None
        assert each.rtt_ms < 900
    assert counter(net.router, "TCPSynRetrans") - before == sum(LOSSES)
    listed = net.outside.run("nft", "list", "table", "ip", "faults").stdout
    assert [int(found) for found in re.findall(r"counter packets (\d+)", listed)] == [1, 2, 3]


def test_syns_lost_before_a_refusal_are_told_too(net: Net) -> None:
    rules(net.outside, "input", "tcp dport 9100 tcp flags & (syn | ack) == syn first 2 drop")
    (result,) = net.probed(to(OUTSIDE, 9100))
    assert (result.error, result.syns_lost, result.connect_ms) == ("refused", 2, None)


def test_a_lost_answer_costs_a_second_too(net: Net) -> None:
    """Both ends send again after one second; only where the caller is first the kernel counts it there."""
    net.listen(9001)
    rules(net.outside, "output", "tcp sport 9001 tcp flags & (syn | ack) == syn | ack first 1 drop")
    (result,) = net.probed(to(OUTSIDE, 9001))
    assert result.connect_ms is not None
    assert 900 < result.connect_ms < 1900
    assert result.syns_lost in (0, 1)


def test_a_blackhole_ends_at_the_deadline_with_the_syns_lost_until_then(net: Net) -> None:
    rules(net.outside, "input", "tcp dport 81 drop")
    started = time.monotonic()
    (result,) = net.probed(to(OUTSIDE, 81), timeout_s=2.5)
    assert 2.4 < time.monotonic() - started < 4
    assert (result.error, result.syns_lost, result.connect_ms, result.rtt_ms) == ("timed out", 2, None, None)
    assert oracle.state_counts(net.router) == {"SYN_SENT": 1}


def test_a_pool_without_ports_is_felt_inside_and_not_on_the_router(net: Net) -> None:
    """The same target in the same second: what differs is NAT's doing."""
    net.listen(443)
    assert [each.error for each in net.probed(net.pair(443))] == [None, None]
    net.router.flush()
    fill_pool(net.router, NATTED)
    before = oracle.counters(net.router)
    host, inside = net.probed(net.pair(443), timeout_s=3.5)
    assert (host.path, host.error, host.syns_lost) == ("host", None, 0)
    assert (inside.path, inside.error, inside.syns_lost) == ("netns", "timed out", 3)
    after = oracle.counters(net.router)
    assert after["insert_failed"] - before["insert_failed"] == 4, "the first SYN and three more"


def test_with_masquerade_the_router_shares_the_pool(net: Net) -> None:
    """Its own connections hold tuples of the same address, so that a full pool is felt on both sides."""
    net.listen(443)
    net.router.nft("flush table ip nat\n" + NAT.replace(f"snat to {NATTED}", "masquerade"))
    assert [each.error for each in net.probed(net.pair(443))] == [None, None]
    net.router.flush()
    fill_pool(net.router, ROUTER)
    assert [each.error for each in net.probed(net.pair(443), timeout_s=1.5)] == ["timed out", "timed out"]


def fill_pool(router: Namespace, address: str) -> None:
    """Take all the ports that NAT may give under this address towards the world outside."""
    ports = range(1024, 65536)
    inject(router, (Entry(src="10.9.0.99", dst=OUTSIDE, sport=port, dport=443, snat=address) for port in ports))


def test_a_full_accept_queue_is_no_matter_of_nat(net: Net) -> None:
    """The path to the container itself, without any NAT, loses SYNs, and the container's kernel counts them."""
    (server,) = net.listen(80, place=net.inside, backlog=0)
    with traffic.connect(net.router, INSIDE, 80):
        before = counter(net.inside, "ListenOverflows")
        (result,) = net.probed(to(INSIDE, 80), timeout_s=2.5)
        assert (result.error, result.syns_lost) == ("timed out", 2)
        assert counter(net.inside, "ListenOverflows") - before == 3
        timer = threading.Timer(1.5, lambda: server.accept()[0].close())
        timer.start()
        (result,) = net.probed(to(INSIDE, 80))
        timer.join()
    assert (result.error, result.syns_lost) == (None, 2)


# Errors by name


def test_errors_are_told_by_name(net: Net) -> None:
    net.listen(80)
    rules(net.router, "output", "ip daddr 10.9.0.77 reject with icmp host-unreachable")
    net.router.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
    results = net.probed(to(OUTSIDE, 79), to("203.0.113.1", 80), to("10.9.0.77", 80), to("2001:db8::1", 80))
    by_target = {each.target: each for each in results}
    assert {target: each.error for target, each in by_target.items()} == {
        f"{OUTSIDE}:79": "refused",
        "203.0.113.1:80": "unreachable",
        "10.9.0.77:80": "unreachable",
        "2001:db8::1:80": "unreachable",
    }, "where IPv6 is off, the kernel says the same as where no port is left"
    assert by_target[f"{OUTSIDE}:79"].syns_lost == 0
    assert by_target["203.0.113.1:80"].syns_lost is None, "no SYN was sent"


def test_without_a_free_local_port_it_says_so(net: Net) -> None:
    net.listen(80)
    net.router.sysctl("net.ipv4.ip_local_port_range", "40000 40001")
    with traffic.connect(net.router, OUTSIDE, 80), traffic.connect(net.router, OUTSIDE, 80):
        (result,) = net.probed(to(OUTSIDE, 80))
    assert (result.error, result.own) == ("no free local port", None)


def test_a_namespace_that_vanishes_between_two_rounds_is_an_error_by_name(net: Net) -> None:
    net.listen(443)
    with closing(Prober(Manners(2.0), net.router.path)) as prober:
        prober.aim([net.pair(443)], rounds=2)
        wait_until(lambda: prober.own(), what="the first round")
        time.sleep(0.5)
        net.inside.close()
        prober.wait()
        results = prober.take()
    assert Counter((each.path, each.error) for each in results) == {
        ("host", None): 2,
        ("netns", None): 1,
        ("netns", "namespace gone"): 1,
    }


def test_the_command_names_what_does_not_resolve_and_exits_with_1(net: Net) -> None:
    net.listen(443)
    done = product.natop(
        net.router, "probe", f"{OUTSIDE}:443", "no-such-name.invalid:80", "--count", "1", "--format", "json"
    )
    assert (done.returncode, done.stderr) == (1, "")
    by_target = {each["target"]: each for each in json.loads(done.stdout)["probes"]}
    assert by_target[f"{OUTSIDE}:443"]["error"] is None
    assert by_target["no-such-name.invalid:80"]["error"] in ("unknown host", "no answer from the name server")


def test_without_any_right_the_host_s_own_way_is_probed(net: Net) -> None:
    net.listen(443)
    arguments = ("probe", f"{OUTSIDE}:443", "--count", "1")
    done = product.natop(net.router, *arguments, by=UNPRIVILEGED)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{OUTSIDE}:443  host" in done.stdout
    refused = product.natop(None, *arguments, "--netns", net.router.name, by=UNPRIVILEGED)
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "Operation not permitted" in refused.stderr


def test_without_an_engine_there_is_no_container_to_call_from(net: Net, tmp_path: Path) -> None:
    done = product.natop(
        net.router, "probe", f"{OUTSIDE}:443", "--from", "web", "--docker-host", f"unix://{tmp_path}/no.sock"
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert "no Docker Engine is listening there" in done.stderr


def test_in_another_namespace_it_calls_from_there(net: Net) -> None:
    net.listen(443)
    done = product.natop(None, "probe", f"{OUTSIDE}:443", "--netns", net.inside.name, "--count", "1")
    assert done.returncode == 0, done.stderr
    assert [each["orig"]["src"] for each in oracle.flows(net.router)] == [INSIDE]


# Manners


@pytest.mark.parametrize("polite", [False, True])
def test_no_time_wait_stays_behind_unless_one_is_polite(net: Net, polite: bool) -> None:
    ports = range(9000, 9010)
    servers = net.listen(*ports)
    over = threading.Event()
    closing_thread = threading.Thread(target=_accept_and_hang_up, args=(servers, over))
    closing_thread.start()
    results = net.probed(*(to(OUTSIDE, port) for port in ports), rounds=2, polite=polite)
    wait_until(lambda: not sockets(net.router, "fin-wait-2"), what="the other end's FINs")
    over.set()
    closing_thread.join()
    assert [each.error for each in results] == [None] * 20
    expected = 20 if polite else 0
    assert sockets(net.router, "time-wait") == expected
    assert oracle.state_counts(net.router) == {"TIME_WAIT" if polite else "CLOSE": 20}


def _accept_and_hang_up(servers: Sequence[socket.socket], over: threading.Event) -> None:
    """Take each connection and close it when its client has."""
    for server in servers:
        server.settimeout(0.01)
    while not over.is_set():
        for server in servers:
            try:
                connection, _ = server.accept()
            except TimeoutError:
                continue
            with connection:
                connection.settimeout(5)
                try:
                    connection.recv(1)
                except ConnectionResetError:
                    continue


def test_a_hundred_targets_of_which_fifty_hang_are_probed_with_manners(net: Net) -> None:
    """Counted in the kernel's own table; and the snapshots of the live feed keep their pace meanwhile."""
    answering, hanging = range(7000, 7050), range(7050, 7100)
    net.listen(*answering)
    rules(net.outside, "input", "tcp dport 7050-7099 drop")
    targets = tuple(ProbeTarget(f"{OUTSIDE}:{port}", OUTSIDE, port) for port in (*answering, *hanging))
    live = LiveFeed(Source(str(net.router.path)), 0.5)
    live.probe(ProbeWish(published=False, targets=targets))
    moments: list[float] = []
    started = time.monotonic()
    with closing(live):
        for snapshot in live:
            taken = snapshot
            moments.append(time.monotonic())
            if moments[-1] - started > 8:
                break
    elapsed = time.monotonic() - started
    calls = Counter(int(flow["orig"]["dport"]) for flow in oracle.flows(net.router))
    assert calls.total() <= MOST_PER_S * elapsed + 1
    assert max(calls.values()) <= elapsed / 2 + 1
    assert {calls[port] for port in hanging} <= {0, 1}, "one that hangs is not called again"
    assert sum(calls[port] for port in hanging) >= 45
    assert min(calls[port] for port in answering) >= 1
    assert calls.total() >= 100
    assert max(later - earlier for earlier, later in pairwise(moments)) < 5, "a target hangs for ten"
    assert taken.probes is not None
    assert {each.last.target for each in taken.probes} >= {f"{OUTSIDE}:{port}" for port in answering}
    assert {each.last.error for each in taken.probes} == {None}
    assert taken.whole is not None
    assert taken.whole.counts.total == 0, "natop's own flows are in no count"
    assert taken.reading is not None
    assert len(taken.reading.own) >= 95


def test_own_flows_are_left_out_of_what_others_do_too(net: Net) -> None:
    net.listen(443)
    live = LiveFeed(Source(str(net.router.path)), 0.5)
    live.probe(ProbeWish(published=False, targets=(ProbeTarget(f"{OUTSIDE}:443", OUTSIDE, 443),)))
    with closing(live), traffic.connect(net.router, OUTSIDE, 443), traffic.connect(net.inside, OUTSIDE, 443):
        taken = next(each for each in _patiently(live) if each.reading and each.reading.own)
        table = oracle.flows(net.router)
        assert taken.reading is not None
        told = {(flow.sport, flow.dport) for flow in taken.reading.own}
        assert len(told) >= 1
        assert taken.whole is not None
        assert taken.whole.counts.total == 2
        assert len(table) >= 3
        assert told < {(flow["orig"]["sport"], flow["orig"]["dport"]) for flow in table}


def _patiently(live: LiveFeed) -> Iterator[Snapshot]:
    """What it gives within a minute."""
    until = time.monotonic() + 60
    for taken in live:
        yield taken
        assert time.monotonic() < until
