"""The laboratory does what it says: what it injects, conntrack-tools shows."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.lab import oracle, traffic
from tests.lab.fill import CONTAINERS, STATE_SHARES, fill
from tests.lab.inject import SCTP_STATES, TCP_STATES, UNREPLIED, Entry, inject, table_room
from tests.lab.netns import RUN_NETNS, Namespace, entered, sweep, wait_until
from tests.lab.traffic import Responder

MAXIMUM = Path("/proc/sys/net/netfilter/nf_conntrack_max")


def only(namespace: Namespace, entry: Entry) -> oracle.Flow:
    """Inject one entry and return it as conntrack-tools tell it."""
    assert inject(namespace, [entry]) == 1
    (flow,) = oracle.flows(namespace)
    return flow


def alive(pid: int) -> bool:
    """Whether a process exists and is more than a zombie that its parent has not collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_namespace_goes_whatever_happens_in_it() -> None:
    with contextlib.suppress(ZeroDivisionError), Namespace() as doomed:
        pid = doomed.start("sleep", "1000")
        assert doomed.running(pid)
        raise ZeroDivisionError
    assert not doomed.path.exists()
    assert not alive(pid)


KILLED_RUN = """
import os
from pathlib import Path
from tests.lab.netns import Namespace, wait_until

namespace = Namespace().__enter__()
pid = namespace.start("sleep", "1000")
wait_until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\\n")
print(namespace.name, pid, flush=True)
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_run_left_is_swept() -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED_RUN], capture_output=True, text=True, timeout=30)
    name, pid = killed.stdout.split()
    wait_until(lambda: not alive(int(pid)), what="its process to die with it")
    assert (RUN_NETNS / name).exists()
    assert name in sweep()
    assert not (RUN_NETNS / name).exists()


def test_entered_moves_this_thread_and_brings_it_back(namespace: Namespace) -> None:
    home = os.stat("/proc/thread-self/ns/net").st_ino
    with entered(namespace):
        assert os.stat("/proc/thread-self/ns/net").st_ino == namespace.path.stat().st_ino != home
    assert os.stat("/proc/thread-self/ns/net").st_ino == home


def test_a_sysctl_belongs_to_its_namespace(namespace: Namespace) -> None:
    name = "net.netfilter.nf_conntrack_tcp_timeout_time_wait"
    with Namespace() as other:
        assert namespace.sysctl(name, 33) == "33"
        assert other.sysctl(name) == "120"


def test_nft_rules_load_and_mistakes_are_told(namespace: Namespace) -> None:
    namespace.nft("table ip lab { chain c { type nat hook postrouting priority 100; masquerade; }\n}")
    assert "masquerade" in namespace.run("nft", "list", "ruleset").stdout
    with pytest.raises(RuntimeError, match="syntax error"):
        namespace.nft("table ip {")


def test_a_published_flow(namespace: Namespace) -> None:
    entry = Entry(src="198.18.0.2", dst="198.18.0.1", dport=8080, dnat="172.17.0.2", dnat_port=80, state=7)
    flow = only(namespace, entry)
    assert flow["orig"] == {"src": "198.18.0.2", "dst": "198.18.0.1", "sport": 40000, "dport": 8080}
    assert flow["reply"] == {"src": "172.17.0.2", "dst": "198.18.0.2", "sport": 80, "dport": 40000}
    assert (flow["state"], flow["assured"], flow["replied"]) == ("TIME_WAIT", True, True)
    assert oracle.nat(flow) == {"dnat"}


def test_a_masqueraded_flow_with_zone_mark_and_timeout(namespace: Namespace) -> None:
    entry = Entry(src="172.17.0.2", dst="198.18.0.2", snat="198.18.0.1", snat_port=5555, zone=3, mark=9, timeout_s=77)
    flow = only(namespace, entry)
    assert (flow["reply"]["dst"], flow["reply"]["dport"]) == ("198.18.0.1", 5555)
    assert (flow["zone"], flow["mark"]) == (3, 9)
    assert 70 <= flow["timeout_s"] <= 77
    assert oracle.nat(flow) == {"snat"}


def test_a_hairpin_flow_is_rewritten_at_both_ends(namespace: Namespace) -> None:
    entry = Entry(src="172.17.0.2", dst="198.18.0.1", dnat="172.17.0.2", snat="172.17.0.1")
    assert oracle.nat(only(namespace, entry)) == {"dnat", "snat"}


@pytest.mark.parametrize("state", range(1, len(TCP_STATES)))
def test_every_tcp_state(namespace: Namespace, state: int) -> None:
    flow = only(namespace, Entry(src="10.0.0.1", dst="10.0.0.2", state=state, status=UNREPLIED))
    assert flow["state"] == TCP_STATES[state]
    assert not flow["replied"]
    assert oracle.state_counts(namespace) == {TCP_STATES[state]: 1}


@pytest.mark.parametrize("state", range(1, len(SCTP_STATES)))
def test_every_sctp_state(namespace: Namespace, state: int) -> None:
    assert (
        only(namespace, Entry(src="fd00::1", dst="fd00::2", proto="sctp", state=state))["state"] == SCTP_STATES[state]
    )


@pytest.mark.parametrize("proto", ["udp", "udplite", "gre"])
@pytest.mark.parametrize(("src", "dst"), [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")])
def test_protocols_without_a_state(namespace: Namespace, proto: str, src: str, dst: str) -> None:
    flow = only(namespace, Entry(src=src, dst=dst, proto=proto, sport=7, dport=8))
    names = ("srckey", "dstkey") if proto == "gre" else ("sport", "dport")
    assert (flow["proto"], flow["state"]) == (proto, None)
    assert [flow["orig"][name] for name in names] == [7, 8]
    assert [flow["reply"][name] for name in names] == [8, 7]


@pytest.mark.parametrize(
    ("proto", "address", "types"), [("icmp", "10.0.0.%d", (8, 0)), ("icmpv6", "fd00::%d", (128, 129))]
)
def test_echo_requests(namespace: Namespace, proto: str, address: str, types: tuple[int, int]) -> None:
    flow = only(namespace, Entry(src=address % 1, dst=address % 2, proto=proto, sport=99))
    numbers = [(end["type"], end["code"], end["id"]) for end in (flow["orig"], flow["reply"])]
    assert numbers == [(types[0], 0, 99), (types[1], 0, 99)]


def test_ipv6_is_rewritten_too(namespace: Namespace) -> None:
    flow = only(namespace, Entry(src="fd00::2", dst="fd00::1", dport=8086, dnat="fd01::9", dnat_port=80))
    assert (flow["family"], flow["reply"]["src"], flow["reply"]["sport"]) == (6, "fd01::9", 80)


def test_accounting_and_timestamps_where_switched_on(namespace: Namespace) -> None:
    namespace.sysctl("net.netfilter.nf_conntrack_acct", 1)
    namespace.sysctl("net.netfilter.nf_conntrack_timestamp", 1)
    flow = only(namespace, Entry(src="10.0.0.1", dst="10.0.0.2"))
    assert (flow["orig"]["packets"], flow["reply"]["bytes"]) == (0, 0)
    assert abs(flow["started_ns"] / 1e9 - time.time()) < 60


def test_a_refused_entry_is_an_error(namespace: Namespace) -> None:
    entry = Entry(src="10.0.0.1", dst="10.0.0.2")
    with pytest.raises(FileExistsError, match="EEXIST 2 times"):
        inject(namespace, [entry, entry, entry])
    assert oracle.count(namespace) == 1


def test_a_big_table_in_its_proportions(namespace: Namespace) -> None:
    count = 20_000
    with table_room(count):
        assert fill(namespace, count) == count == oracle.count(namespace)
        table = oracle.flows(namespace)
    assert len({str((flow["proto"], flow["orig"])) for flow in table}) == count
    states = Counter(flow["state"] for flow in table if flow["proto"] == "tcp")
    for state, share in STATE_SHARES.items():
        assert states[state] / states.total() == pytest.approx(share, rel=0.2)
    assert states == oracle.state_counts(namespace)
    assert {flow["orig"]["src"] for flow in table} > set(CONTAINERS)
    masqueraded = [flow for flow in table if flow["orig"].get("dport") == 443]
    assert all(flow["reply"]["dport"] == flow["orig"]["sport"] for flow in masqueraded)


def test_the_same_seed_gives_the_same_table(namespace: Namespace) -> None:
    def tuples(where: Namespace) -> set[str]:
        fill(where, 500)
        return {f"{flow['orig']} {flow['reply']} {flow['state']}" for flow in oracle.flows(where)}

    with Namespace() as other:
        assert tuples(namespace) == tuples(other)


def test_table_room_puts_the_limit_back() -> None:
    before = MAXIMUM.read_text()
    with table_room(int(before) + 1000):
        assert int(MAXIMUM.read_text()) >= int(before) + 1000
    assert MAXIMUM.read_text() == before
    with table_room(10):
        assert MAXIMUM.read_text() == before


def test_the_kernel_s_counters_are_summed(namespace: Namespace) -> None:
    inject(namespace, [Entry(src="10.0.0.1", dst="10.0.0.2", sport=port) for port in range(1, 6)])
    counters = oracle.counters(namespace)
    assert counters["insert"] == 5
    assert "cpu" not in counters


def test_owners_by_plain_loops(namespace: Namespace) -> None:
    inject(
        namespace,
        [
            Entry(src="198.18.0.2", dst="198.18.0.1", dport=8080, dnat="172.17.0.2", dnat_port=80),
            Entry(src="172.18.0.3", dst="172.18.0.2", state=7),
            Entry(src="172.18.0.3", dst="198.18.0.2", proto="udp", snat="198.18.0.1"),
            Entry(src="198.18.0.1", dst="198.18.0.2", dport=22),
        ],
    )
    web = {"Name": "/web", "NetworkSettings": {"Networks": {"a": {"IPAddress": "172.17.0.2"}}}}
    web["NetworkSettings"]["Networks"]["b"] = {"IPAddress": "172.18.0.2", "GlobalIPv6Address": ""}  # type: ignore[index]
    app = {"Name": "/app", "NetworkSettings": {"Networks": {"b": {"IPAddress": "172.18.0.3"}}}}
    table = oracle.flows(namespace)
    assert oracle.owners(table, [web, app]) == {
        "web": {"ESTABLISHED": 1, "TIME_WAIT": 1},
        "app": {"TIME_WAIT": 1, "udp": 1},
    }
    assert oracle.directions(table, [web, app]) == {"web": (2, 0), "app": (0, 2)}
    assert [flow["orig"]["dport"] for flow in oracle.unowned(table, [web, app])] == [22]


def test_quiet_waits_for_what_is_about_to_expire(namespace: Namespace) -> None:
    lasting = Entry(src="10.0.0.1", dst="10.0.0.2")
    inject(namespace, [lasting, Entry(src="10.0.0.1", dst="10.0.0.3", timeout_s=2)])
    assert [flow["orig"]["dst"] for flow in oracle.quiet(namespace)] == ["10.0.0.2"]


def test_real_connections_between_namespaces(namespace: Namespace) -> None:
    with Namespace() as other:
        namespace.link("left", other, "right")
        namespace.address("left", "198.18.9.1/30", "fd00:9::1/64")
        other.address("right", "198.18.9.2/30", "fd00:9::2/64")
        namespace.nft("table inet lab { chain c { type filter hook output priority 0; ct state new accept; }\n}")
        with Responder(other, ("198.18.9.2", "fd00:9::2"), (80,)):
            assert traffic.get(namespace, "198.18.9.2", 80, 3) == 3
            assert traffic.exchange(namespace, "fd00:9::2", 80, 2) == 2
            with traffic.hold(namespace, "198.18.9.2", 80, 2) as held:
                assert len(held) == 2
                states = Counter(flow["state"] for flow in oracle.flows(namespace) if flow["number"] in (6, 17))
        assert states == {"TIME_WAIT": 3, "ESTABLISHED": 2, None: 2}
