"""The engine's inventory, read and followed over the real SDK from a small server on a unix socket."""

import gc
import hashlib
import json
import os
import re
import socketserver
import ssl
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docker import APIClient
from docker.errors import APIError
from requests import Response
from requests.exceptions import ChunkedEncodingError, JSONDecodeError, ReadTimeout

from natop.collect import engine as product
from natop.collect import events, pulse
from natop.collect import listener as listening
from natop.collect.answers import Asked, Nonsense, gap_of
from natop.collect.engine import EngineWatcher, Target, pick
from natop.collect.events import EVENTS
from natop.collect.listener import listener, namespace_of
from natop.decode.inventory import decode_inventory
from natop.demo import engine as demo
from natop.demo import shapes
from natop.demo.inventory import DEFAULT_NETWORKS
from natop.demo.shapes import DemoContainer, DemoEndpoint, DemoNetwork, DemoPort
from natop.model import Container, EngineReading
from tests.unit import changing
from tests.unit.changing import EngineServer, Inventory

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]
"""The SDK forgets to close the socket that it could not connect."""

PATIENCE_S = 60.0
"""For what must happen, on a machine however slow."""
SHOP = DemoNetwork("shop", "172.18.0.0/16", "172.18.0.1", subnet6="fd00:18::/64", gateway6="fd00:18::1")
WEB = DemoContainer(
    "web",
    pid=os.getpid(),
    image="shop/web:1",
    endpoints=(DemoEndpoint("bridge", "172.17.0.2"), DemoEndpoint("shop", "172.18.0.2", "fd00:18::2")),
    ports=(DemoPort(80, 8080), DemoPort(9000)),
    labels={"com.docker.compose.project": "shop", "com.docker.compose.service": "web", "token": "hunter2"},
    env=("PASSWORD=hunter2",),
)
ASLEEP = DemoContainer("asleep", state="exited", endpoints=(DemoEndpoint("shop", "172.18.0.9"),))


@pytest.fixture(autouse=True, scope="module")
def old_objects_aside() -> Iterator[None]:
    """Collecting garbage after every test costs little when it need not look at what was there before."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No engine of this machine, short pauses, and nothing left for the garbage collector of a later test."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(product, "RETRY_S", 0.05)
    yield
    gc.collect()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EngineServer]:
    inventory = Inventory([WEB, ASLEEP], [*DEFAULT_NETWORKS, SHOP])
    with EngineServer(tmp_path / "d.sock", inventory) as running:
        yield running


@contextmanager
def watching(target: Target, *, follow: bool = True) -> Iterator[EngineWatcher]:
    watcher = EngineWatcher(target, follow=follow)
    try:
        yield watcher
    finally:
        watcher.close()
        ended(watcher)


def ended(watcher: EngineWatcher) -> None:
    """Wait for its thread, so that nothing of it reaches into the next test."""
    watcher._thread.join(PATIENCE_S)
    assert not watcher._thread.is_alive()


@pytest.fixture
def watcher(server: EngineServer) -> Iterator[EngineWatcher]:
    with watching(Target(server.url)) as following:
        assert following.wait(PATIENCE_S)
        yield following


def eventually(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.005)


def containers(watcher: EngineWatcher) -> dict[str, Container]:
    """By name, of a reading without a gap."""
    reading, gap = watcher.latest()
    assert gap is None
    assert reading is not None
    return {each.name: each for each in decode_inventory(reading).containers}


def addresses(watcher: EngineWatcher, name: str) -> list[tuple[str, str | None]]:
    return [(place.network, place.ipv4) for place in containers(watcher)[name].networks]


def test_the_inventory(watcher: EngineWatcher) -> None:
    reading, gap = watcher.latest()
    assert gap is None
    assert reading is not None
    inventory = decode_inventory(reading)
    assert (inventory.engine.version, inventory.engine.api_version) == (demo.VERSION, demo.API_VERSION)
    assert (inventory.engine.rootless, inventory.engine.firewall_backend) == (False, "nftables")
    assert [each.name for each in inventory.networks] == ["bridge", "host", "none", "shop"]
    assert [each.name for each in inventory.containers] == ["asleep", "web"]
    web = inventory.containers[1]
    assert (web.id, web.pid, web.project, web.service) == (WEB.id, os.getpid(), "shop", "web")
    assert [(place.network, place.driver, place.ipv4, place.ipv6, place.gateway) for place in web.networks] == [
        ("bridge", "bridge", "172.17.0.2", None, "172.17.0.1"),
        ("shop", "bridge", "172.18.0.2", "fd00:18::2", "172.18.0.1"),
    ]
    assert [(port.host_port, port.container_port) for port in web.published] == [(8080, 80)]
    assert inventory.containers[0].pid is None


def test_without_following_it_is_read_once(server: EngineServer) -> None:
    with watching(Target(server.url), follow=False) as once:
        assert once.wait(PATIENCE_S)
        ended(once)
        server.inventory.rename("asleep", "awake")
        assert sorted(containers(once)) == ["asleep", "web"]


# Changes


def test_start_and_die(server: EngineServer, watcher: EngineWatcher) -> None:
    server.inventory.start("asleep", pid=os.getpid())
    eventually(lambda: addresses(watcher, "asleep") == [("shop", "172.18.0.9")])
    assert containers(watcher)["asleep"].state == "running"
    server.inventory.stop("asleep")
    eventually(lambda: containers(watcher)["asleep"].state == "exited")
    assert addresses(watcher, "asleep") == [("shop", None)]


def test_create_and_destroy(server: EngineServer, watcher: EngineWatcher) -> None:
    server.inventory.add(DemoContainer("new", pid=os.getpid(), endpoints=(DemoEndpoint("shop", "172.18.0.20"),)))
    eventually(lambda: "new" in containers(watcher) and addresses(watcher, "new"))
    server.inventory.remove("new")
    eventually(lambda: "new" not in containers(watcher))


def test_rename(server: EngineServer, watcher: EngineWatcher) -> None:
    server.inventory.rename("web", "www")
    eventually(lambda: sorted(containers(watcher)) == ["asleep", "www"])
    assert containers(watcher)["www"].id == WEB.id


def test_connect_and_disconnect(server: EngineServer, watcher: EngineWatcher) -> None:
    server.inventory.disconnect("web", "bridge")
    eventually(lambda: addresses(watcher, "web") == [("shop", "172.18.0.2")])
    server.inventory.connect("web", DemoEndpoint("bridge", "172.17.0.77"))
    eventually(lambda: addresses(watcher, "web") == [("bridge", "172.17.0.77"), ("shop", "172.18.0.2")])


def test_a_network_comes_and_goes(server: EngineServer, watcher: EngineWatcher) -> None:
    inventory, late = server.inventory, DemoNetwork("late", "172.30.0.0/16")

    def networks() -> list[str]:
        reading, _ = watcher.latest()
        assert reading is not None
        return [each.name for each in decode_inventory(reading).networks]

    with inventory.changed:
        inventory._networks["late"] = late
    inventory.emit("network", "create", late.id, {"name": "late", "type": "bridge"})
    eventually(lambda: "late" in networks())
    with inventory.changed:
        del inventory._networks["late"]
    inventory.emit("network", "destroy", late.id, {"name": "late", "type": "bridge"})
    eventually(lambda: "late" not in networks())


def test_who_is_on_swarm_s_bridge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known by that network alone, and read anew when a container starts: nothing else tells of it."""
    inspected = shapes.inspect_body

    def without_the_bridge(*given: Any) -> Any:
        body = inspected(*given)
        body["NetworkSettings"]["Networks"].pop("docker_gwbridge", None)
        return body

    monkeypatch.setattr(demo, "inspect_body", without_the_bridge)
    networks = (DemoNetwork("over", "10.0.1.0/24", driver="overlay"), DemoNetwork("docker_gwbridge", "172.20.0.0/16"))
    served = Inventory([on_overlay("task", 3), on_overlay("later", 4, state="exited")], networks)
    with EngineServer(tmp_path / "d.sock", served) as server, watching(Target(server.url)) as watcher:
        assert watcher.wait(PATIENCE_S)
        assert addresses(watcher, "task") == [("over", "10.0.1.3"), ("docker_gwbridge", "172.20.0.3")]
        served.start("later", pid=os.getpid())
        eventually(lambda: addresses(watcher, "later") == [("over", "10.0.1.4"), ("docker_gwbridge", "172.20.0.4")])


def on_overlay(name: str, number: int, state: str = "running") -> DemoContainer:
    endpoints = (DemoEndpoint("over", f"10.0.1.{number}"), DemoEndpoint("docker_gwbridge", f"172.20.0.{number}"))
    return DemoContainer(name, pid=os.getpid() if state == "running" else 0, state=state, endpoints=endpoints)


def test_podman_tells_of_a_network_by_the_container_on_it(
    server: EngineServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its events have no network's id, and there is none of a network that comes or goes."""
    version = demo.version_body() | {"Components": [{"Name": "Podman Engine"}]}
    monkeypatch.setattr(demo, "version_body", lambda: version)
    inventory, late = server.inventory, DemoNetwork("late", "172.30.0.0/16")
    with watching(Target(server.url)) as watcher:
        assert watcher.wait(PATIENCE_S)
        with inventory.changed:
            inventory._networks["late"] = late
            inventory._containers[WEB.id] = replace(WEB, endpoints=(DemoEndpoint("late", "172.30.0.2"),))
        inventory.emit("network", "connect", WEB.id, {"name": "web"})
        eventually(lambda: addresses(watcher, "web") == [("late", "172.30.0.2")])
        eventually(lambda: containers(watcher)["web"].networks[0].driver == "bridge")


def test_who_listens_on_the_socket(watcher: EngineWatcher, tmp_path: Path) -> None:
    reading, _ = watcher.latest()
    assert reading is not None
    assert (reading.pid, reading.netns) == (os.getpid(), f"/proc/{os.getpid()}/ns/net")
    assert listener(None) is listener(str(tmp_path / "nobody")) is None


def test_an_engine_whose_namespace_rootlesskit_keeps_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "state"
    process = tmp_path / "7"
    for folder in (state, process):
        folder.mkdir()
    (process / "root").symlink_to("/")
    (process / "environ").write_bytes(b"PASSWORD=x\0ROOTLESSKIT_STATE_DIR=" + bytes(state) + b"\0HOME=/")
    monkeypatch.setattr(listening, "PROC", tmp_path)
    assert namespace_of(7) == f"{process}/ns/net", "there is none"
    (state / "netns").touch()
    assert namespace_of(7) == f"{process}/ns/net", "it is an empty file"
    (state / "netns").unlink()
    (state / "netns").symlink_to("/proc/self/ns/net")
    assert namespace_of(7) == f"{process}/root{state}/netns"
    assert namespace_of(8) == f"{tmp_path}/8/ns/net"


def test_systemd_listens_for_others(monkeypatch: pytest.MonkeyPatch, server: EngineServer) -> None:
    monkeypatch.setattr(listening, "_name", lambda _: "systemd")
    assert listener(str(server.path)) is None


def test_events_that_change_nothing_shown_are_not_asked_for() -> None:
    assert not {"exec_start", "attach", "top", "health_status"} & set(EVENTS["event"])
    assert {"start", "die", "rename", "destroy", "connect", "disconnect", "remove"} <= set(EVENTS["event"])
    assert {"died", "cleanup"} <= set(EVENTS["event"]), "Podman's words"


def test_a_container_that_is_gone_when_it_is_looked_at(server: EngineServer, watcher: EngineWatcher) -> None:
    server.inventory.emit("container", "start", "f" * 64, {"name": "ghost"})
    server.inventory.rename("asleep", "awake")
    eventually(lambda: sorted(containers(watcher)) == ["awake", "web"])


class Inspections:
    """How often the engine was asked for a container, by its id."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.of: Counter[str] = Counter()
        inspect = APIClient.inspect_container

        def counted(client: APIClient, identity: str) -> Any:
            self.of[identity] += 1
            return inspect(client, identity)

        monkeypatch.setattr(APIClient, "inspect_container", counted)


@pytest.fixture
def unfiltered(monkeypatch: pytest.MonkeyPatch, server: EngineServer) -> EngineServer:
    """An engine that tells all events, whichever it was asked for, and keeps many."""
    monkeypatch.setattr(changing, "matches", lambda *_: True)
    server.inventory._events = deque(maxlen=100_000)
    return server


@pytest.mark.parametrize(
    "action",
    ["exec_create: sh -c true", "exec_start: sh", "exec_die", "health_status: healthy", "top", "attach", "resize"],
)
def test_events_that_change_nothing_shown_cost_no_question(
    unfiltered: EngineServer, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    monkeypatch.setattr(product, "SETTLE_S", 0.0)
    asked = Inspections(monkeypatch)
    with watching(Target(unfiltered.url)) as following:
        assert following.wait(PATIENCE_S)
        for _ in range(100):
            unfiltered.inventory.emit("container", action, WEB.id, {"name": "web"})
        unfiltered.inventory.rename("asleep", "awake")
        eventually(lambda: sorted(containers(following)) == ["awake", "web"])
    assert asked.of == {WEB.id: 1, ASLEEP.id: 2}


def test_a_storm_of_events_is_read_at_a_pace_and_what_changes_in_it_is_seen(
    unfiltered: EngineServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One question for all events of a container between two readings, and none is lost: the last one is read, too."""
    monkeypatch.setattr(product, "SETTLE_S", 0.5)
    asked = Inspections(monkeypatch)
    with watching(Target(unfiltered.url)) as following:
        assert following.wait(PATIENCE_S)
        began = time.monotonic()
        for number in range(3_000):
            unfiltered.inventory.emit("container", "update", WEB.id, {"name": "web", "number": str(number)})
        unfiltered.inventory.rename("web", "www")
        unfiltered.inventory.start("asleep", pid=os.getpid())
        eventually(lambda: "www" in containers(following))
        eventually(lambda: addresses(following, "asleep"))
        time.sleep(1.0)
        rounds = (time.monotonic() - began) / 0.5
    assert asked.of[WEB.id] <= 2 + rounds


def test_many_changes_at_once_are_read_one_by_one_or_all_anew(
    unfiltered: EngineServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MOST_WAITING", 10)
    with watching(Target(unfiltered.url)) as following:
        assert following.wait(PATIENCE_S)
        before = following._changes
        for number in range(100):
            unfiltered.inventory.emit("container", "start", f"{number:064x}", {})
        eventually(lambda: following._changes is not before and following.latest()[1] is None)
        unfiltered.inventory.rename("web", "www")
        eventually(lambda: sorted(containers(following)) == ["asleep", "www"])


# Events without an end


class Endless:
    """In place of an answer: pieces for ever."""

    def __init__(self, piece: bytes) -> None:
        self.piece, self.read = piece, 0

    def read1(self, most: int, decode_content: bool) -> bytes:
        assert len(self.piece) <= most
        assert not decode_content
        self.read += len(self.piece)
        return self.piece


@pytest.mark.parametrize("piece", [b"x" * 40_000, b" " * 40_000, b'{"Action":'])
def test_a_line_without_an_end_is_read_only_so_far(piece: bytes) -> None:
    endless: Any = Endless(piece)
    with pytest.raises(Nonsense, match="more than 1 MiB without the end of a line"):
        list(events.lines(endless))
    assert endless.read < events.LONGEST_EVENT + 100_000


def test_lines_come_as_they_were_sent_however_they_are_cut() -> None:
    sent = [b"", b"one", b"two" * 30_000, b"", b"three"]
    for size in (1, 7, 60_000):
        text = b"\n".join([*sent, b"begun"])
        pieces = iter([text[at : at + size] for at in range(0, len(text), size)])
        answer: Any = SimpleNamespace(read1=lambda *_, pieces=pieces, **__: next(pieces, b""))
        assert list(events.lines(answer)) == sent


FLOODS = {
    "a line": (b"10000\r\n" + b"x" * 65_536 + b"\r\n"),
    "a chunk": (b"fffffffff\r\n" + b"x" * 65_536),
    "the length of a chunk": b"0" * 65_536,
}


@pytest.mark.parametrize("flood", FLOODS)
def test_an_engine_whose_events_have_no_end_is_a_gap_and_read_anew(
    server: EngineServer, monkeypatch: pytest.MonkeyPatch, flood: str
) -> None:
    """Whatever has no end; it is given up after little, and the inventory is right afterwards."""
    sent: list[int] = []
    stream = changing.Handler.stream_events

    def stream_events(handler: Any, query: dict[str, str]) -> None:
        if sent:
            stream(handler, query)
            return
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.close_connection = True
        sent.append(0)
        piece = FLOODS[flood]
        with suppress(OSError):
            while sent[0] < 64 << 20:
                handler.wfile.write(piece)
                sent[0] += len(piece)
                piece = piece if flood == "a line" else piece[-65_536:]

    monkeypatch.setattr(changing.Handler, "stream_events", stream_events)
    monkeypatch.setattr(product, "RETRY_S", 0.5)
    gaps: set[str] = set()

    def recovered() -> bool:
        gap = gap_text(following)
        gaps.add(gap)
        return len(gaps) > 1 and not gap

    with watching(Target(server.url)) as following:
        assert following.wait(PATIENCE_S)
        eventually(recovered)
        server.inventory.rename("asleep", "awake")
        eventually(lambda: sorted(containers(following)) == ["awake", "web"])
    why = (
        "closed the connection" if flood == "the length of a chunk" else "its events, the Docker Engine gives more than"
    )
    assert any(why in gap and gap.endswith("shown as last seen") for gap in gaps)
    assert sent[0] < 16 << 20


NONSENSE = [b"<html>", b"[]", b"7", b'{"Action": "start"', b"[" * 100_000, b"\xff"]


@pytest.mark.parametrize("end", [b"\n", b""])
@pytest.mark.parametrize("line", NONSENSE)
def test_an_event_that_makes_no_sense_has_the_inventory_read_anew(
    server: EngineServer, monkeypatch: pytest.MonkeyPatch, line: bytes, end: bytes
) -> None:
    """However odd, and where it swallows the event after it, too; what changes later is followed."""
    monkeypatch.setattr(product, "SETTLE_S", 0.0)
    send, odd = changing.Handler.send_chunk, [line]

    def send_chunk(handler: Any, data: bytes) -> None:
        send(handler, odd.pop() + end + data if odd and b"rename" in data else data)

    monkeypatch.setattr(changing.Handler, "send_chunk", send_chunk)
    with watching(Target(server.url)) as following:
        assert following.wait(PATIENCE_S)
        before = following._changes
        server.inventory.rename("asleep", "awake")
        eventually(lambda: following._changes is not before and following.latest()[1] is None)
        assert sorted(containers(following)) == ["awake", "web"]
        server.inventory.rename("web", "www")
        eventually(lambda: following.latest()[1] is None and sorted(containers(following)) == ["awake", "www"])
    assert not odd


@pytest.mark.parametrize("line", NONSENSE)
def test_an_event_that_makes_no_sense_is_refused(line: bytes) -> None:
    with pytest.raises(Nonsense, match="asked for its events, the Docker Engine gives a line that is no JSON"):
        events.change_of(line)


@pytest.mark.parametrize(
    ("event", "change"),
    [
        ({"Action": "start", "Type": "container", "Actor": {"ID": "c"}}, (False, "c", "")),
        (
            {"Action": "connect", "Type": "network", "Actor": {"ID": "n", "Attributes": {"container": "c"}}},
            (True, "n", "c"),
        ),
        ({"Action": "start", "Actor": {"ID": 7, "Attributes": {"container": []}}}, (False, "", "")),
        ({"Action": "start", "Actor": []}, (False, "", "")),
        ({"Action": "exec_die", "Type": "container", "Actor": {"ID": "c"}}, None),
        ({"Action": ["start"]}, None),
        ({}, None),
    ],
)
def test_what_an_event_changes(event: dict[str, object], change: object) -> None:
    assert events.change_of(json.dumps(event).encode()) == change
    assert events.change_of(b" \r") is None


# An engine that does not answer


def panic() -> APIError:
    """As the SDK makes of an answer with status 500."""
    response = Response()
    response.status_code, response.reason = 500, "Internal Server Error"
    return APIError("", response, "panic: no runtime")


@pytest.mark.parametrize(
    "answer",
    [
        panic(),
        ReadTimeout("Read timed out."),
        ChunkedEncodingError("half an answer"),
        JSONDecodeError("no JSON", "{", 1),
        {},
        {"Id": 7},
        [],
        "text",
        None,
    ],
)
def test_a_container_that_cannot_be_inspected_hides_no_other(
    server: EngineServer, monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    """It is as the engine lists it, and a gap names it; once it can be inspected again, it is as the others."""
    inspect, is_broken = APIClient.inspect_container, True

    def inspected(client: APIClient, identity: str) -> Any:
        if identity != WEB.id or not is_broken:
            return inspect(client, identity)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(APIClient, "inspect_container", inspected)
    with watching(Target(server.url)) as watcher:
        assert watcher.wait(PATIENCE_S)
        reading, _ = watcher.latest()
        assert reading is not None
        found = {each.name: each for each in decode_inventory(reading).containers}
        assert gap_text(watcher) == "the Docker Engine cannot inspect web: shown as it is listed"
        assert watcher.latest()[1].remedy == "look at it: docker inspect web"  # type: ignore[union-attr]  # told above
        is_broken = False
        server.inventory.emit("container", "update", WEB.id, {"name": "web"})
        eventually(lambda: watcher.latest()[1] is None)
        whole = containers(watcher)
    assert whole["web"].pid == os.getpid()
    assert found == whole | {"web": replace(whole["web"], pid=None, created_at=None, started_at=None, sandbox=None)}


def many_engine(path: Path) -> EngineServer:
    return EngineServer(path, Inventory([DemoContainer(f"c{number}") for number in range(9)], DEFAULT_NETWORKS))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([], "gives an answer of another form"),
        ({}, "gives an answer without Id"),
    ],
)
def test_an_engine_whose_inspections_make_no_sense_is_at_fault_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: object, reason: str
) -> None:
    monkeypatch.setattr(APIClient, "inspect_container", lambda *_: answer)
    with many_engine(tmp_path / "d.sock") as broken, watching(Target(broken.url)) as watcher:
        assert watcher.wait(PATIENCE_S)
        assert watcher.latest()[0] is None
        assert gap_text(watcher) == f"asked for a container, the Docker Engine {reason}"


def test_an_engine_that_can_inspect_none_is_at_fault_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_client: APIClient, _identity: str) -> Any:
        raise panic()

    monkeypatch.setattr(APIClient, "inspect_container", fail)
    with many_engine(tmp_path / "d.sock") as broken, watching(Target(broken.url)) as watcher:
        assert watcher.wait(PATIENCE_S)
        assert watcher.latest()[0] is None
        assert gap_text(watcher) == "asked for a container, the Docker Engine answers 500 panic: no runtime"


def test_nothing_is_there(tmp_path: Path) -> None:
    with watching(Target(f"unix://{tmp_path}/nobody.sock")) as waiting:
        assert waiting.wait(PATIENCE_S)
        reading, gap = waiting.latest()
        assert reading is None
        assert gap is not None
        assert (gap.source, gap.reason) == ("docker", "no Docker Engine is listening there")
        assert gap.remedy == "name one by --docker-host URL, or --no-docker"


def test_a_socket_that_nobody_serves(server: EngineServer, tmp_path: Path) -> None:
    dead = tmp_path / "dead.sock"
    abandoned = socketserver.UnixStreamServer(str(dead), socketserver.BaseRequestHandler)
    abandoned.server_close()
    with watching(Target(f"unix://{dead}")) as waiting:
        assert waiting.wait(PATIENCE_S)
        gap = waiting.latest()[1]
        assert gap is not None
        assert gap.reason == "no Docker Engine is listening there"
    del server


def test_an_engine_that_hangs_is_a_gap_in_time_and_delays_nobody(
    server: EngineServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(product, "TIMEOUT_S", 3)
    asked, answer = threading.Event(), changing.Handler.do_GET

    def noted(handler: Any) -> None:
        asked.set()
        answer(handler)

    monkeypatch.setattr(changing.Handler, "do_GET", noted)
    server.delay_s = 30
    with watching(Target(server.url)) as waiting:
        assert asked.wait(PATIENCE_S)
        assert [waiting.latest() for _ in range(1000)] == [(None, None)] * 1000, "who waits for the engine gets its gap"
        eventually(lambda: waiting.latest() != (None, None))
        gap = waiting.latest()[1]
        assert gap is not None
        assert "gave no answer" in gap.reason
        server.delay_s = 0
        eventually(lambda: waiting.latest()[1] is None)
        assert sorted(containers(waiting)) == ["asleep", "web"]


def test_an_engine_that_goes_on_answering_is_waited_for(tmp_path: Path) -> None:
    """It is asked about each container, and so takes its time where there are many."""
    many = Inventory([DemoContainer(f"c{number}") for number in range(20)], DEFAULT_NETWORKS)
    with EngineServer(tmp_path / "d.sock", many) as slow:
        slow.delay_s = 0.1
        with watching(Target(slow.url), follow=False) as waiting:
            eventually(lambda: waiting._heard)
            assert waiting.wait(0.01)
            assert len(containers(waiting)) == 20


@pytest.mark.parametrize(("between_s", "longest_s"), [(0.2, 60.0), (60.0, 0.0)])
def test_an_engine_that_stops_answering_is_not_waited_for(
    server: EngineServer, monkeypatch: pytest.MonkeyPatch, between_s: float, longest_s: float
) -> None:
    monkeypatch.setattr(product, "BETWEEN_S", between_s)
    monkeypatch.setattr(product, "LONGEST_S", longest_s)
    end = threading.Event()
    monkeypatch.setattr(APIClient, "inspect_container", lambda *_: end.wait(PATIENCE_S))
    try:
        with watching(Target(server.url), follow=False) as waiting:
            eventually(lambda: waiting._heard)
            assert not waiting.wait(0.01)
            end.set()
    finally:
        end.set()


def test_an_engine_that_comes_back_is_read_anew(server: EngineServer, watcher: EngineWatcher) -> None:
    server.stop()
    eventually(lambda: watcher.latest()[1] is not None)
    reading, gap = watcher.latest()
    assert reading is not None
    assert gap is not None
    assert gap.reason.endswith("its containers are shown as last seen")
    assert [each.name for each in decode_inventory(reading).containers] == ["asleep", "web"]
    server.inventory.rename("asleep", "awake")
    server.start()
    eventually(lambda: watcher.latest()[1] is None)
    assert sorted(containers(watcher)) == ["awake", "web"]
    server.inventory.rename("awake", "again")
    eventually(lambda: sorted(containers(watcher)) == ["again", "web"])


def test_a_connection_that_drops_is_made_again(server: EngineServer, watcher: EngineWatcher) -> None:
    server.drop_connections()
    server.inventory.rename("asleep", "awake")
    eventually(lambda: watcher.latest()[1] is None and sorted(containers(watcher)) == ["awake", "web"])


@pytest.fixture
def quick_pulse(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine is asked for a sign of life several times a second; one that answers does so in time."""
    for name in ("PULSE_S", "AGAIN_S"):
        monkeypatch.setattr(pulse, name, 0.2)
    monkeypatch.setattr(product, "TIMEOUT_S", 3)


@contextmanager
def frozen(server: EngineServer) -> Iterator[None]:
    """The engine keeps its connections and says nothing, as one that was sent SIGSTOP."""
    server.delay_s = 30
    try:
        yield
    finally:
        server.delay_s = 0


def gap_text(watcher: EngineWatcher) -> str:
    gap = watcher.latest()[1]
    return gap.reason if gap else ""


SILENCE = re.compile(r"the Docker Engine has not answered for (\d+) s; its containers are shown as last seen")


@pytest.mark.usefixtures("quick_pulse")
def test_an_engine_that_freezes_while_it_is_followed_is_a_gap_that_grows(server: EngineServer) -> None:
    with watching(Target(server.url)) as following:
        assert following.wait(PATIENCE_S)
        with frozen(server):
            eventually(lambda: SILENCE.fullmatch(gap_text(following)))
            reading, gap = following.latest()
            assert reading is not None
            assert [each.name for each in decode_inventory(reading).containers] == ["asleep", "web"]
            assert gap is not None
            assert (gap.source, gap.remedy) == ("docker", "look at it: systemctl status docker")
            first = int(SILENCE.fullmatch(gap.reason)[1])  # type: ignore[index]  # it just matched
            eventually(lambda: int(SILENCE.fullmatch(gap_text(following))[1]) > first)  # type: ignore[index]
        eventually(lambda: not gap_text(following))
        assert sorted(containers(following)) == ["asleep", "web"]


@pytest.mark.usefixtures("quick_pulse")
def test_an_engine_that_wakes_is_read_anew_and_followed(server: EngineServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What happened meanwhile is seen though no event told it; no other gap shows on the way."""
    gaps: set[str] = set()

    def names() -> list[str]:
        gaps.add(SILENCE.sub("silence", gap_text(following)))
        return [each.name for each in decode_inventory(following.latest()[0] or NOTHING).containers]

    with watching(Target(server.url)) as following:
        assert following.wait(PATIENCE_S)
        with frozen(server):
            eventually(lambda: gap_text(following))
            with monkeypatch.context() as patch:
                patch.setattr(server.inventory, "emit", lambda *_: None)
                server.inventory.rename("asleep", "awake")
        eventually(lambda: names() == ["awake", "web"] and not gap_text(following))
        server.inventory.rename("awake", "again")
        eventually(lambda: names() == ["again", "web"])
        assert gaps == {"silence", ""}


NOTHING = EngineReading({}, {}, (), ())


@pytest.mark.usefixtures("quick_pulse")
@pytest.mark.parametrize("status", [200, 403])
def test_an_engine_that_answers_is_read_once(
    server: EngineServer, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """Also one that refuses the question, as a proxy before it may."""
    asked: list[str] = []
    send = changing.Handler.send

    def sent(handler: Any, usual: int, body: bytes, kind: str) -> None:
        asked.append(handler.path.rpartition("/")[2])
        send(handler, status if asked[-1] == "_ping" else usual, body, kind)

    monkeypatch.setattr(changing.Handler, "send", sent)
    with watching(Target(server.url)) as following:
        assert following.wait(PATIENCE_S)
        eventually(lambda: asked.count("_ping") >= 3)
        assert following.latest()[1] is None
    assert asked.count("info") == 1


def test_closing_ends_the_thread_whatever_it_waits_for(server: EngineServer, tmp_path: Path) -> None:
    before = threading.active_count()
    for url in (server.url, f"unix://{tmp_path}/nobody.sock"):
        with watching(Target(url)) as waiting:
            assert waiting.wait(PATIENCE_S)
    eventually(lambda: threading.active_count() <= before)


@pytest.mark.parametrize("after_s", [0, 0.001, 0.005, 0.01, 0.02, 0.03])
def test_closing_at_any_moment_ends_the_thread(server: EngineServer, after_s: float) -> None:
    hasty = EngineWatcher(Target(server.url), follow=True)
    time.sleep(after_s)
    hasty.close()
    ended(hasty)


def open_sockets() -> int:
    found = 0
    for each in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            found += os.readlink(f"/proc/self/fd/{each}").startswith("socket:")
    return found


def test_closing_amid_events_leaves_no_socket_to_the_collector(
    server: EngineServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = threading.Event()
    opened: list[EngineWatcher] = []

    def apply(*_: object) -> None:
        assert told.wait(PATIENCE_S)
        opened[0].close()

    monkeypatch.setattr(product._State, "apply", apply)
    before = open_sockets()
    gc.disable()
    try:
        opened.append(EngineWatcher(Target(server.url), follow=True))
        assert opened[0].wait(PATIENCE_S)
        for name, new in pairwise(("asleep", "one", "two", "three")):
            server.inventory.rename(name, new)
        told.set()
        ended(opened[0])
        eventually(lambda: open_sockets() <= before)
    finally:
        gc.enable()


class _Rude(BaseHTTPRequestHandler):
    """Answers everything alike."""

    status, body = 200, b""

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def rude_engine(path: Path, status: int, body: bytes) -> Iterator[str]:
    handler = type("Rude", (_Rude,), {"status": status, "body": body})
    with socketserver.ThreadingUnixStreamServer(str(path), handler) as rude:
        rude.daemon_threads = True
        thread = threading.Thread(target=rude.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            rude.shutdown()
            thread.join()


VERSION = b'"Version": "1", "ApiVersion": "1.44"'
GIVES = "asked for its version, the Docker Engine gives"
ANSWERS = "asked for its version, the Docker Engine answers"


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, b"", f"{GIVES} what is no JSON"),
        (200, b"<html>", f"{GIVES} what is no JSON"),
        (200, b"\xff\xfe\x00", f"{GIVES} what is no JSON"),
        (200, b"[]", f"{GIVES} an answer of another form"),
        (200, b'"text"', f"{GIVES} an answer of another form"),
        (200, b"null", f"{GIVES} an answer of another form"),
        (200, b"[" * 100_000, f"{GIVES} an answer of another form"),
        (200, b"{}", f"{GIVES} an answer without ApiVersion"),
        (200, b'{"ApiVersion": 7}', f"{GIVES} an answer of another form"),
        (200, b'{"ApiVersion": "0.1"}', "natop does not speak an API as old as this Docker Engine's"),
        (200, b"{%b}" % VERSION, "asked for its containers, the Docker Engine gives an answer of another form"),
        (500, b'{"message": "panic"}', f"{ANSWERS} 500 panic"),
        (500, b'{"message": {"a": 1}}', f"{ANSWERS} 500 {{'a': 1}}"),
        (500, b"{}", f"{ANSWERS} 500 Internal Server Error"),
        (403, b"forbidden", f"{ANSWERS} 403 forbidden"),
    ],
)
def test_an_answer_that_makes_no_sense_is_a_gap(tmp_path: Path, status: int, body: bytes, reason: str) -> None:
    """One sentence: what was asked, what came; and how to see who answers."""
    with rude_engine(tmp_path / "r.sock", status, body) as url, watching(Target(url)) as waiting:
        assert waiting.wait(PATIENCE_S)
        reading, gap = waiting.latest()
        assert reading is None
        assert gap is not None
        assert (gap.source, gap.reason) == ("docker", reason)
        assert gap.remedy == f"see who answers: docker --host {url} version"


@pytest.mark.parametrize(
    ("method", "answer", "reason"),
    [
        ("containers", [{}], "asked for its containers, the Docker Engine gives an answer without Id"),
        ("containers", {}, "asked for its containers, the Docker Engine gives an answer of another form"),
        ("containers", [7], "asked for its containers, the Docker Engine gives an answer of another form"),
        ("containers", [{"Id": 7}], "asked for its containers, the Docker Engine gives an answer without Id"),
        ("networks", None, "asked for its networks, the Docker Engine gives an answer of another form"),
        ("networks", [{}], "asked for its networks, the Docker Engine gives an answer without Name"),
        ("info", [], "asked for its state, the Docker Engine gives an answer of another form"),
    ],
)
def test_no_question_is_answered_by_anything(
    server: EngineServer, monkeypatch: pytest.MonkeyPatch, method: str, answer: object, reason: str
) -> None:
    monkeypatch.setattr(APIClient, method, lambda *_, **__: answer)
    with watching(Target(server.url), follow=False) as once:
        assert once.wait(PATIENCE_S)
        assert once.latest()[0] is None
        assert gap_text(once) == reason


def test_an_engine_that_tells_no_events_is_read_again_and_again(
    server: EngineServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a proxy before it may have it; what was read is shown."""
    monkeypatch.setattr(changing.Handler, "stream_events", lambda handler, _: handler.send(403, b"no", "text/plain"))
    with watching(Target(server.url)) as following:
        assert following.wait(PATIENCE_S)
        eventually(lambda: "asked for its events, the Docker Engine gives status 403" in gap_text(following))
        server.inventory.rename("asleep", "awake")
        eventually(
            lambda: "awake" in [each.name for each in decode_inventory(following.latest()[0] or NOTHING).containers]
        )


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (
            "tcp://no-such-host.invalid:2375",
            "no address is known for no-such-host.invalid, where the Docker Engine should be",
        ),
        ("bogus://x", "no Docker Engine can be asked at bogus://x"),
        ("tcp://[", "no Docker Engine can be asked at tcp://["),
        ("tcp://127.0.0.1:bogus", "no Docker Engine can be asked at tcp://127.0.0.1:bogus"),
        ("ssh://nobody@127.0.0.1:1", "ssh:// needs paramiko, which is not installed"),
    ],
)
def test_a_url_that_leads_to_no_engine(url: str, reason: str) -> None:
    with watching(Target(url), follow=False) as once:
        assert once.wait(PATIENCE_S)
        assert gap_text(once) == reason
        assert once.latest()[1].remedy  # type: ignore[union-attr]  # told above


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[str]:
    """Something that is no HTTP server, on a unix socket."""

    class Blunt(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65_536)
            self.request.sendall(answer)

    with socketserver.ThreadingUnixStreamServer(str(path), Blunt) as blunt:
        thread = threading.Thread(target=blunt.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            blunt.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", f"{GIVES} no answer, and closes the connection"),
        (b"220 mail\r\n", f"{GIVES} what is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", f"{GIVES} a part of an answer"),
    ],
)
def test_what_is_no_http_server(tmp_path: Path, answer: bytes, reason: str) -> None:
    with answering(tmp_path / "b.sock", answer) as url, watching(Target(url), follow=False) as once:
        assert once.wait(PATIENCE_S)
        assert gap_text(once) == reason


def test_a_defect_in_telling_why_is_a_gap_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(product, "gap_of", fail)
    with watching(Target(f"unix://{tmp_path}/nobody.sock")) as waiting:
        assert waiting.wait(PATIENCE_S)
        assert gap_text(waiting) == "a defect of natop: ZeroDivisionError: by zero"
        assert "test_engine.py" not in (waiting.latest()[1].remedy or "")  # type: ignore[union-attr]  # told above
        assert waiting._thread.is_alive()


def test_an_error_of_any_form_is_told() -> None:
    """Whatever a library hangs on to its errors."""

    class Odd(Exception):
        response = "text"
        reason = 7

    loop = Odd("a")
    loop.__context__ = ValueError(loop)
    for error in (Odd(), loop, ssl.SSLError("x"), ValueError(), KeyError(), OSError()):
        gap = gap_of(error, Asked("tcp://["), None)
        assert gap.reason.startswith(("asked for its version, the Docker Engine gives an answer", "no TLS connection"))


def test_what_a_strange_engine_says_is_made_harmless(tmp_path: Path) -> None:
    body = json.dumps({"message": "\x1b[2J\x1b]0;gone\x07" + "x" * 5000}).encode()
    with rude_engine(tmp_path / "r.sock", 500, body) as url, watching(Target(url)) as waiting:
        assert waiting.wait(PATIENCE_S)
        gap = waiting.latest()[1]
        assert gap is not None
        assert not {"\x1b", "\x07", "\n"} & set(gap.reason)
        assert len(gap.reason) <= 300


def test_errors_of_other_kinds_say_what_would_help() -> None:
    denied = gap_of(PermissionError(13, "Permission denied"), Asked(""), None)
    assert denied.reason == "no permission to use the Docker socket"
    assert denied.remedy is not None
    assert "sudo natop" in denied.remedy


# Which engine


def context(folder: Path, name: str, url: str, *, current: bool = False) -> None:
    """A Docker context as `docker context create` writes it."""
    place = folder / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    place.mkdir(parents=True)
    meta = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": url, "SkipTLSVerify": False}}}
    (place / "meta.json").write_text(json.dumps(meta))
    if current:
        (folder / "config.json").write_text(json.dumps({"auths": {}, "currentContext": name}))


def reads(target: Target) -> bool:
    """Whether the target leads to the test's engine."""
    with watching(target, follow=False) as once:
        assert once.wait(PATIENCE_S)
        reading, _ = once.latest()
    return reading is not None and len(reading.containers) == 2


def test_the_environment_names_the_engine(server: EngineServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", server.url)
    assert reads(Target())


def test_a_url_goes_before_the_environment(server: EngineServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/d.sock")
    assert not reads(Target())
    assert reads(Target(server.url))


def test_a_context_by_name_goes_before_the_environment(
    server: EngineServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/d.sock")
    context(tmp_path / "config", "lab", server.url)
    assert reads(Target(context="lab"))


def test_without_a_word_the_current_context(server: EngineServer, tmp_path: Path) -> None:
    context(tmp_path / "config", "lab", server.url, current=True)
    assert reads(Target())


def test_the_environment_may_name_a_context(
    server: EngineServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    context(tmp_path / "config", "lab", server.url)
    context(tmp_path / "config", "other", "unix:///nowhere/d.sock", current=True)
    monkeypatch.setenv("DOCKER_CONTEXT", "lab")
    assert reads(Target())


def test_the_environment_goes_before_the_current_context(
    server: EngineServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    context(tmp_path / "config", "lab", "unix:///nowhere/d.sock", current=True)
    monkeypatch.setenv("DOCKER_HOST", server.url)
    assert reads(Target())


def test_a_context_that_is_not_there_is_a_gap(server: EngineServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", server.url)
    with watching(Target(context="no-such"), follow=False) as once:
        assert once.wait(PATIENCE_S)
        reading, gap = once.latest()
    assert reading is None
    assert gap is not None
    assert "no-such" in gap.reason


# What natop must not know


def test_environment_and_mounts_never_enter(server: EngineServer, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = shapes.inspect_body

    def with_secrets(*arguments: Any) -> dict[str, Any]:
        body = plain(*arguments)
        assert "PASSWORD=hunter2" in body["Config"]["Env"] or body["Name"] == "/asleep"
        body["Mounts"] = [{"Type": "bind", "Source": "/home/hunter2", "Destination": "/run/secrets"}]
        body["HostConfig"]["Binds"] = ["/home/hunter2:/x"]
        body["Args"] = body["Config"]["Cmd"] = ["--password=hunter2"]
        body["NetworkSettings"]["Networks"]["shop"]["DriverOpts"] = {"secret": "hunter2"}
        return body

    monkeypatch.setattr(demo, "inspect_body", with_secrets)
    server.info["HttpProxy"] = "http://user:hunter2@proxy"
    with watching(Target(server.url)) as following:
        assert following.wait(PATIENCE_S)
        reading, _ = following.latest()
        assert reading is not None
        assert len(reading.containers) == 2
        assert "shop/web:1" in repr(reading)
        assert "hunter2" not in repr(reading)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": 1, "b": 2}, {"a": 1}),
        ({"a": {"x": 1}, "n": {"k1": {"y": 1, "z": 2}, "k2": {}}}, {"a": {"x": 1}, "n": {"k1": {"y": 1}, "k2": {}}}),
        ({"n": {"k": 7}}, {"n": {"k": 7}}),
        ({}, {}),
        ("text", "text"),
        (None, None),
    ],
)
def test_pick_keeps_what_the_shape_names(value: object, expected: object) -> None:
    assert pick(value, {"a": None, "n": {"*": {"y": None}}}) == expected


def test_how_docker_is_told_of_the_same_engine() -> None:
    assert Target().options == ()
    assert Target("tcp://192.0.2.1:2375", "away").options == ("--host", "tcp://192.0.2.1:2375")
    assert Target(context="away").options == ("--context", "away")
