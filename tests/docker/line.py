"""natop's line on the lab's Docker host: one reading after the other, and what it says of each flow."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy as np

from natop.collect.engine import EngineWatcher, Target
from natop.collect.host import HostReader
from natop.columns.containers import container_rows
from natop.decode.counters import PROC_FILES
from natop.export.document import document
from natop.export.flowdocument import flow_objects
from natop.join.flows import Flows, path_text
from natop.model import EngineReading, Gap, Snapshot
from natop.observe import observe
from tests.lab import oracle, traffic
from tests.lab.dockerhost import DockerHost
from tests.lab.engine import IMAGE
from tests.lab.netns import Namespace, entered, wait_until

Row = dict[str, Any]
Key = tuple[Any, ...]
PATIENCE_S = 10.0


class Line:
    """Readings of a Docker host, each beside the one before it; `forget` begins anew."""

    def __init__(self, host: DockerHost, place: Path | None = None) -> None:
        """`place` is another network namespace than the host's."""
        self._watcher = EngineWatcher(Target(host.url), follow=True)
        self._reader = HostReader(PROC_FILES, place or host.namespace.path, self._watcher, process_budget_s=5.0)
        self.taken: Snapshot | None = None

    def __enter__(self) -> Self:
        """Wait for the engine's first answer."""
        assert self._watcher.wait(PATIENCE_S)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Hang up on the engine."""
        self._reader.close()

    def read(self) -> Snapshot:
        """One reading with its flows."""
        self.taken = observe(self.taken, self._reader.sample(dump=True))
        return self.taken

    def tick(self) -> Snapshot:
        """One reading of counters and inventory alone."""
        self.taken = observe(self.taken, self._reader.sample(dump=False))
        return self.taken

    def rows(self) -> dict[Key, Row]:
        """What one reading says of each flow, by its original ends."""
        return rows(self.read())

    def anew(self) -> dict[Key, Row]:
        """The same, without memory of any reading before."""
        self.taken = None
        return self.rows()

    def containers(self) -> dict[str, Row]:
        """One reading's containers as the document has them, by name."""
        return containers(self.read())

    def engine(self) -> tuple[EngineReading | None, Gap | None]:
        """What the engine has told so far."""
        return self._watcher.latest()

    def await_engine(self, condition: Callable[[Mapping[str, Any]], bool]) -> None:
        """Wait for the engine's word of its containers, by name, without taking a reading meanwhile."""

        def settled() -> bool:
            told = self.engine()[0]
            return told is not None and condition({str(each["Name"])[1:]: each for each in told.containers})

        wait_until(settled, PATIENCE_S, what="the engine's events")

    def until(self, *, present: Iterable[str] = (), absent: Iterable[str] = ()) -> None:
        """Wait until the engine's events have brought and taken these running containers."""

        def settled() -> bool:
            inventory = self.tick().inventory
            running = {each.name for each in inventory.containers if each.state == "running"} if inventory else set()
            return running >= set(present) and not running & set(absent)

        wait_until(settled, PATIENCE_S, what="the engine's events")


def rows(taken: Snapshot) -> dict[Key, Row]:
    """Every flow of a snapshot as the JSON document has it, by its original ends."""
    flows = Flows.of(taken)
    assert flows is not None, taken.gaps
    told = [msgspec.to_builtins(row) for row in flow_objects(flows, np.arange(len(flows.table)))]
    by_ends = {ends(row): row for row in told}
    assert len(by_ends) == len(told), "a flow is told twice"
    return by_ends


def ends(row: Row) -> Key:
    """What tells a flow from all others, of natop's rows and of the judge's alike."""
    orig = row["orig"]
    numbers = orig.get("icmp") or orig
    first = orig["sport"] if orig.get("sport") is not None else numbers.get("id", orig.get("srckey"))
    last = orig["dport"] if orig.get("dport") is not None else numbers.get("type", orig.get("dstkey"))
    return row["proto"], orig["src"], first, orig["dst"], last


def containers(taken: Snapshot) -> dict[str, Row]:
    """The containers of a snapshot as the document has them, by name."""
    made: Any = msgspec.to_builtins(document(taken, container_rows(taken))["containers"])
    return {each["name"]: each for each in made}


def parties(row: Row) -> tuple[str, str | None, str | None]:
    """A flow's kind, and who its client and its server are, container or not."""
    return row["kind"], row["client"] or row["client_other"], row["server"] or row["server_other"]


def path(flow: oracle.Flow) -> str:
    """The way of one of the judge's flows in one line, the steps of NAT marked."""
    orig, reply, nat = flow["orig"], flow["reply"], oracle.nat(flow)
    source, target = end(orig["src"], orig.get("sport")), end(orig["dst"], orig.get("dport"))
    if "snat" in nat:
        source += f" ⇒ {end(reply['dst'], reply.get('dport'))}"
    if "dnat" in nat:
        target += f" ⇒ {end(reply['src'], reply.get('sport'))}"
    return f"{source} → {target}"


def end(address: str, port: int | None) -> str:
    """One end as people write it; the address alone where the protocol has no ports."""
    return address if port is None else f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def paths(taken: Snapshot) -> dict[Key, str]:
    """What natop says of each flow's way, by its original ends."""
    flows = Flows.of(taken)
    assert flows is not None, taken.gaps
    return dict(zip(rows(taken), (path_text(flows, row) for row in range(len(flows.table))), strict=True))


def to(
    table: Iterable[oracle.Flow], *, dst: str | None = None, dport: int | None = None, src: str | None = None
) -> Any:
    """The flows of a table that called there."""
    wanted = {"dst": dst, "dport": dport, "src": src}
    return [
        flow
        for flow in table
        if all(value is None or flow["orig"].get(name) == value for name, value in wanted.items())
    ]


def judged(flow: oracle.Flow, inspected: Iterable[dict[str, Any]]) -> tuple[str | None, str | None, str | None]:
    """Client and server container of a flow, and the network it left or came in by; the addresses tell."""
    place = {
        attachment[key]: (container["Name"].lstrip("/"), name)
        for container in inspected
        for name, attachment in container["NetworkSettings"]["Networks"].items()
        for key in ("IPAddress", "GlobalIPv6Address")
        if attachment[key]
    }
    client, left = place.get(flow["orig"]["src"], (None, None))
    server, came = place.get(flow["reply"]["src"], (None, None))
    return client, server, left or came


def assert_owned(told: dict[Any, Row], table: Sequence[oracle.Flow], host: DockerHost) -> None:
    """natop tells each of the judge's flows once, with the containers that the judge finds."""
    inspected = host.inspect()
    assert told.keys() == {ends(flow) for flow in table}
    for flow in table:
        row = told[ends(flow)]
        assert (row["client"], row["server"], row["network"]) == judged(flow, inspected)


def this_process() -> str:
    """How natop names the process that runs the tests."""
    return f"host: {Path('/proc/self/comm').read_text().strip()}[{os.getpid()}]"


def proxy_names(namespace: Namespace, host_port: int) -> set[str]:
    """How natop may name the docker-proxy processes of a published port: one for each family."""
    inside = os.stat(namespace.path).st_ino
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_text().split("\0")
            mine = os.stat(folder / "ns" / "net").st_ino == inside
            if mine and words[0].endswith("docker-proxy") and words[words.index("-host-port") + 1] == str(host_port):
                found.add(f"host: docker-proxy[{folder.name}]")
    return found


@contextlib.contextmanager
def running(
    host: DockerHost, name: str, network: str, *options: str, command: str = "exec sleep 1000000"
) -> Iterator[str]:
    """A further container, removed when the block ends; its id."""
    basics = ("--detach", "--stop-timeout", "1", "--name", name, "--network", network)
    try:
        yield host.docker("run", *basics, *options, IMAGE, "sh", "-c", command)
    finally:
        with contextlib.suppress(RuntimeError):
            host.docker("rm", "--force", "--volumes", name)


@contextlib.contextmanager
def network(host: DockerHost, name: str, *options: str) -> Iterator[None]:
    """A further network, removed when the block ends."""
    host.docker("network", "create", *options, name)
    try:
        yield
    finally:
        host.docker("network", "rm", name)


@contextlib.contextmanager
def talking(host: DockerHost, name: str, address: str, port: int) -> Iterator[None]:
    """A connection by a process of the container itself to an echo service, open while the block runs."""
    command = ["docker", "--host", host.url, "exec", "--interactive", name, "nc", address, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(b"hello\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"hello\n"
            yield
        finally:
            process.stdin.close()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def accepts(host: DockerHost, address: str, port: int) -> bool:
    """Whether somebody listens there, as the host finds it."""
    try:
        traffic.connect(host.namespace, address, port).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def sysctl(namespace: Namespace, name: str, value: int) -> Iterator[None]:
    """A sysctl of the namespace set to a value while the block runs."""
    before = namespace.sysctl(name)
    namespace.sysctl(name, value)
    try:
        yield
    finally:
        namespace.sysctl(name, before)


def fill(place: Path) -> int:
    """`conntrack -C` inside a namespace."""
    with entered(place):
        return int(subprocess.run(["conntrack", "-C"], capture_output=True, text=True, timeout=30, check=True).stdout)


def snapshot(*arguments: str) -> dict[str, Any]:
    """The document that `natop snapshot --flows ARGUMENTS…` prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
    command = [sys.executable, "-m", "natop", "snapshot", "--format", "json", "--flows", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    made: dict[str, Any] = json.loads(done.stdout)
    return made
