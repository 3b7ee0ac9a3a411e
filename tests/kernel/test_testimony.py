"""TCP per network namespace: `nstat` and `ss` inside it are the judges, and natop sees it through a process in it."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from natop.collect.engine import EngineWatcher
from natop.collect.host import HostReader
from natop.decode.counters import PROC_FILES
from natop.demo.engine import EngineServer
from natop.demo.inventory import Inventory
from natop.demo.shapes import DemoContainer, DemoEndpoint, inspect_body
from natop.model import EngineReading, Gap, NetnsTcp, Snapshot
from natop.observe import observe
from tests.kernel import product
from tests.lab import oracle, traffic
from tests.lab.netns import Namespace, entered, wait_until
from tests.lab.traffic import Responder

FAR = "10.2.0.2"
ECHO, ONE_PORT, SILENT = 80, 81, 82
ROUTER = f"""
table ip router {{
    chain out {{
        type nat hook postrouting priority 100
        oifname != r9 accept
        tcp dport {ONE_PORT} masquerade to :5000-5000
        masquerade
    }}
}}
"""
LOSSY = """
table ip lossy {{
    chain out {{
        type filter hook output priority 0
        tcp dport {port} tcp flags & syn == syn drop
    }}
}}
"""
STARTED = ("2026-01-05T08:00:00.000000001Z", "2026-01-05T09:00:00.000000002Z")


class Lab:
    """A router with masquerade between containers and a far server; containers are namespaces with one process."""

    def __init__(self, folder: Path) -> None:
        self.router, self.far = Namespace("router"), Namespace("far")
        self.inside = {name: Namespace(name) for name in ("one", "two")}
        self.engine = EngineServer(folder / "docker.sock", Inventory())
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Lab:
        with self._stack:
            for place in (self.router, self.far, *self.inside.values()):
                self._stack.enter_context(place)
            self._wire()
            self._stack.enter_context(Responder(self.far, [FAR], [ECHO, ONE_PORT]))
            self.started = {name: self.start(name) for name in self.inside}
            self.engine.start()
            self._stack.callback(self.engine.stop)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _wire(self) -> None:
        self.router.link("r9", self.far, "f0")
        self.router.address("r9", "10.2.0.1/24")
        self.far.address("f0", f"{FAR}/24")
        for number, place in enumerate(self.inside.values()):
            place.link("eth0", self.router, f"r{number}")
            place.address("eth0", f"10.1.{number}.2/24")
            self.router.address(f"r{number}", f"10.1.{number}.1/24")
            place.run("ip", "route", "add", "default", "via", f"10.1.{number}.1")
        self.router.sysctl("net.ipv4.ip_forward", 1)
        self.router.nft(ROUTER)

    def start(self, name: str, **fields: Any) -> DemoContainer:
        """A container around a process in its namespace; one of the same name is replaced."""
        place = self.inside[name]
        number = list(self.inside).index(name)
        pid = place.start("sleep", "1000")
        wait_until(lambda: _is_inside(pid, place), what="the process to be in its namespace")
        endpoints = (DemoEndpoint("shop", f"10.1.{number}.2"),)
        given: dict[str, Any] = {"sandbox_key": str(place.path), "endpoints": endpoints, "started_at": STARTED[0]}
        made = DemoContainer(name, pid, **given | fields)
        self.engine.inventory = Inventory([each for each in self.containers() if each.name != name] + [made])
        return made

    def containers(self) -> tuple[DemoContainer, ...]:
        return self.engine.inventory.containers


def _is_inside(pid: int, place: Namespace) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samefile(f"/proc/{pid}/ns/net", place.path)
    return False


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path) as made:
        yield made


class Told(EngineWatcher):
    """What the lab's engine would say at this moment."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def latest(self) -> tuple[EngineReading | None, Gap | None]:
        return EngineReading({}, {}, tuple(inspect_body(each, {}) for each in self._lab.containers()), ()), None


class Reader:
    """Ticks without dumps, each beside the one before it."""

    def __init__(self, lab: Lab) -> None:
        self._reader = HostReader(PROC_FILES, lab.router.path, Told(lab))
        self.taken: Snapshot | None = None

    def tick(self) -> Snapshot:
        self.taken = observe(self.taken, self._reader.sample(dump=False))
        return self.taken

    def tcp(self) -> dict[str, NetnsTcp | None]:
        """One reading's testimony by container, and of the namespace read."""
        taken = self.tick()
        return {each.container.name: each.tcp for each in taken.containers} | {"router": taken.tcp}


def rates(tcp: NetnsTcp | None) -> dict[str, float]:
    assert tcp is not None
    assert tcp.rates is not None
    return dict(tcp.rates)


def risen(found: dict[str, NetnsTcp | None], name: str) -> dict[str, float]:
    """By whom, of those for whom a counter rose."""
    return {who: number for who, tcp in found.items() if (number := rates(tcp)[name])}


def busy(lab: Lab) -> None:
    """Connections of all kinds, so that no counter that can rise stands at 0."""
    assert traffic.get(lab.inside["one"], FAR, ECHO, 5) == 5
    assert traffic.get(lab.inside["two"], FAR, ECHO, 2) == 2
    with pytest.raises(ConnectionRefusedError):
        traffic.connect(lab.inside["one"], FAR, 9)


def test_counters_are_those_of_nstat(lab: Lab) -> None:
    busy(lab)
    with traffic.hold(lab.inside["two"], FAR, ONE_PORT, 1), Responder(lab.inside["one"], ["::1"], [7, 8]):
        found = Reader(lab).tcp()
        for name, place in {"router": lab.router, **lab.inside}.items():
            tcp = found[name]
            assert tcp is not None
            assert tcp.counters == oracle.tcp_counters(place)
            assert (tcp.sockets_in_use, tcp.time_wait_sockets) == oracle.sockets(place)
            assert tcp.netns == f"net:[{os.stat(place.path).st_ino}]"
    assert found["one"]
    assert (found["one"].counters["active_opens"], found["one"].counters["attempt_fails"]) == (6, 1)
    assert found["one"].sockets_in_use == 2, "IPv6 counts as IPv4 does"


def test_time_wait_sockets_are_the_namespace_s_own(lab: Lab) -> None:
    for _ in range(3):
        with contextlib.closing(traffic.connect(lab.inside["one"], FAR, ECHO)) as connection:
            connection.sendall(b"hello\n")
            assert connection.recv(16)
    wait_until(lambda: oracle.sockets(lab.inside["one"])[1] == 3, what="sockets in TIME_WAIT")
    found = Reader(lab).tcp()
    assert {who: tcp and tcp.time_wait_sockets for who, tcp in found.items()} == {"one": 3, "two": 0, "router": 0}


def test_a_syn_that_is_lost_shows_at_its_container_alone(lab: Lab) -> None:
    lab.inside["one"].nft(LOSSY.format(port=SILENT))
    reader = Reader(lab)
    reader.tick()
    before = oracle.tcp_counters(lab.inside["one"])
    assert traffic.get(lab.inside["two"], FAR, ECHO) == 1
    with entered(lab.inside["one"]), socket.socket() as knocking:
        knocking.settimeout(2.6)
        with pytest.raises(TimeoutError):
            knocking.connect((FAR, SILENT))
    found = reader.tcp()
    after = oracle.tcp_counters(lab.inside["one"])
    sent = after["syn_retrans"] - before["syn_retrans"]
    assert sent >= 1
    assert reader.taken
    seconds = reader.taken.interval_s
    assert seconds is not None
    for name, number in rates(found["one"]).items():
        assert number * seconds == pytest.approx(after[name] - before[name])
    for name in ("syn_retrans", "retrans_segs", "timeouts"):
        assert risen(found, name) == {"one": pytest.approx(sent / seconds)}
    assert risen(found, "active_opens").keys() == {"one", "two"}
    assert {who: tcp and tcp.lost_syns_per_s for who, tcp in found.items()} == {"one": 0, "two": 0, "router": 0}


def test_a_syn_that_conntrack_lost_is_given_to_its_container(lab: Lab) -> None:
    """One port for all: who comes second finds it taken, and its SYN is dropped until it gives up."""
    reader = Reader(lab)
    reader.tick()
    with traffic.hold(lab.inside["one"], FAR, ONE_PORT, 1), entered(lab.inside["two"]), socket.socket() as second:
        second.settimeout(2.5)
        with pytest.raises(TimeoutError):
            second.connect((FAR, ONE_PORT))
    found = reader.tcp()
    judged, sent = oracle.counters(lab.router), oracle.tcp_counters(lab.inside["two"])["syn_retrans"]
    failed = judged["insert_failed"]
    assert judged["drop"] == failed == sent + 1 >= 2, "the last one was not sent again in time"
    assert reader.taken
    seconds = reader.taken.interval_s
    assert seconds is not None
    assert reader.taken.derived.clash_lost_per_s == pytest.approx(failed / seconds)
    assert reader.taken.derived.table_full_per_s == 0
    assert reader.taken.derived.lost_syns_per_s == pytest.approx(failed / seconds)
    lost = {who: tcp.lost_syns_per_s for who, tcp in found.items() if tcp and tcp.lost_syns_per_s}
    assert lost == {"two": pytest.approx(sent / seconds)}


def test_losses_are_given_to_their_container_however_often_natop_reads(lab: Lab) -> None:
    """The SYN comes again a second after the loss, in another interval."""
    reader = Reader(lab)
    reader.tick()
    given: list[tuple[str, float]] = []
    with traffic.hold(lab.inside["one"], FAR, ONE_PORT, 1), entered(lab.inside["two"]), socket.socket() as second:
        second.setblocking(False)
        second.connect_ex((FAR, ONE_PORT))
        until = time.monotonic() + 2.6
        while time.monotonic() < until:
            time.sleep(0.4)
            found = reader.tcp()
            assert reader.taken
            seconds = reader.taken.interval_s or 0
            given += [(who, tcp.lost_syns_per_s * seconds) for who, tcp in found.items() if tcp and tcp.lost_syns_per_s]
    sent = oracle.tcp_counters(lab.inside["two"])["syn_retrans"]
    assert sent >= 1
    assert [who for who, _ in given] == ["two"] * sent
    assert [number for _, number in given] == pytest.approx([1] * sent)


def test_a_listener_that_does_not_accept(lab: Lab) -> None:
    reader = Reader(lab)
    with entered(lab.inside["two"]):
        listener = socket.create_server(("10.1.1.2", 9000), backlog=0)
    with listener, contextlib.ExitStack() as stack:
        reader.tick()
        for _ in range(4):
            with entered(lab.router):
                caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(("10.1.1.2", 9000))
        wait_until(lambda: oracle.tcp_counters(lab.inside["two"])["listen_overflows"] >= 3, what="overflows")
        before = oracle.tcp_counters(lab.inside["two"])
        found = reader.tcp()
        after = oracle.tcp_counters(lab.inside["two"])
    two = found["two"]
    assert two is not None
    for name in ("listen_overflows", "listen_drops"):
        assert before[name] <= two.counters[name] <= after[name]
        assert risen(found, name).keys() == {"two"}


def test_a_container_that_started_anew(lab: Lab) -> None:
    """Its process, its namespace and so its counters are others."""
    busy(lab)
    reader = Reader(lab)
    reader.tick()
    assert rates(reader.tcp()["one"])["out_segs"] == 0
    lab.inside["one"].stop(lab.started["one"].pid)
    gone = reader.tcp()
    assert gone["one"] is None, "its process is dead, and the engine does not know yet"
    assert rates(gone["two"])["out_segs"] == 0
    with Namespace("anew") as anew:
        lab.inside["one"] = anew
        lab.start("one", started_at=STARTED[1])
        found = reader.tcp()["one"]
        assert found is not None
        assert (found.counters, found.rates) == (oracle.tcp_counters(anew), None)
        assert rates(reader.tcp()["one"])["out_segs"] == 0


def test_a_process_number_that_is_another_s_now(lab: Lab) -> None:
    """Here that of the other container's process; nothing may be told under the wrong name."""
    busy(lab)
    one, two = lab.started["one"], lab.started["two"]
    lab.engine.inventory = Inventory([replace(one, pid=two.pid), two])
    found = Reader(lab).tcp()
    assert found["one"] is None
    assert found["two"]
    assert found["two"].counters["active_opens"] == 2


def test_a_namespace_outlives_its_processes_by_no_descriptor_of_natop_s(lab: Lab) -> None:
    """Whoever holds a file of /proc/PID/net open keeps the namespace alive, and its end of the veth pair with it."""
    reader = Reader(lab)
    reader.tick()
    lab.inside["one"].close()
    wait_until(lambda: lab.router.run("ip", "link", "show", "r0", check=False).returncode != 0, what="the veth to go")
    found = reader.tcp()
    assert found["one"] is None
    assert found["two"]


def test_sysctls_of_a_container_that_are_not_as_the_host_s(lab: Lab) -> None:
    lab.inside["one"].sysctl("net.ipv4.ip_local_port_range", "40000 40100")
    lab.inside["one"].sysctl("net.ipv4.ip_local_reserved_ports", "40050,40060-40062")
    for place in lab.inside.values():
        place.sysctl("net.netfilter.nf_conntrack_tcp_timeout_time_wait", 7)
    lab.router.sysctl("net.core.somaxconn", 2048)
    lab.start("two", endpoints=(DemoEndpoint("bridge", "10.1.1.2"),))
    document = product.snapshot(lab.router, "--docker-host", lab.engine.url)
    told = {each["name"]: each["sysctls"] for each in document["containers"]}
    assert told["one"] == {
        "ip_local_port_range": [40000, 40100],
        "ip_local_reserved_ports": [40050, 40050, 40060, 40062],
        "somaxconn": 4096,
        "nf_conntrack_tcp_timeout_time_wait": 7,
    }
    assert told["two"] == {"somaxconn": 4096}, "on the default bridge it tracks nothing, so that its own do not matter"
    assert document["host"]["sysctls"]["somaxconn"] == 2048


def test_the_document_of_the_command_line(lab: Lab) -> None:
    busy(lab)
    document = product.snapshot(None, "--netns", lab.router.name, "--docker-host", lab.engine.url)
    one = next(each for each in document["containers"] if each["name"] == "one")
    assert one["tcp"]["active_opens"] == 6
    assert set(one["rates"].values()) == {None}
    assert document["host"]["tcp"]["active_opens"] == 0
    assert [gap for gap in document["gaps"] if gap["source"] == "tcp"] == []


def test_without_the_right_to_look_there_are_gaps_and_no_zeros(lab: Lab) -> None:
    busy(lab)
    powerless = ("setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "--")
    document = product.snapshot(lab.router, "--docker-host", lab.engine.url, by=powerless)
    assert {each["name"]: each["tcp"] for each in document["containers"]} == {"one": None, "two": None}
    assert document["host"]["tcp"] is not None, "anybody may read its own namespace's"
    (gap,) = (gap for gap in document["gaps"] if gap["source"] == "tcp")
    assert gap["reason"] == "no right to look into the network namespaces of 2 containers"
    assert gap["remedy"] == "run: sudo natop"
