"""A Docker Engine of its own: containerd and dockerd with private folders and sockets, inside one namespace.

Nothing of a system-wide Docker is read or touched: not its configuration, its data, its sockets nor its containerd.
The storage driver is vfs, which needs no mounts and works on any file system, also inside a container.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.lab.netns import Namespace, wait_until

IMAGE = "lab/busybox:1"
APPLETS = ("sh", "cat", "echo", "httpd", "nc", "nslookup", "ping", "seq", "sleep", "wget")
FOLDER_PREFIX = "natop-lab-"
START_S = 60
# dockerd needs containerd to stop its containers, so on SIGTERM (also when the test process dies) it goes first.
DAEMONS = """
containerd --config "$1" >"$3" 2>&1 & containerd=$!
dockerd --config-file "$2" & dockerd=$!
trap 'kill $dockerd' TERM INT
while kill -0 $dockerd 2>/dev/null; do wait $dockerd; done
kill $containerd; wait $containerd
"""


class Engine:
    """containerd and dockerd for one namespace, with one small image; stopped and cleaned up on exit."""

    def __init__(self, namespace: Namespace, settings: dict[str, Any] | None = None) -> None:
        """`settings` are added to the engine's daemon.json."""
        self.namespace = namespace
        self.folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-"))
        self.socket = self.folder / "docker.sock"
        self.url = f"unix://{self.socket}"
        self._settings = settings or {}
        self._pid: int | None = None

    def __enter__(self) -> Self:
        """Start both daemons, wait until they answer, and import the image."""
        try:
            self.start()
            self.docker("import", "-", IMAGE, stdin=root_file_system())
        except BaseException as error:
            error.add_note(f"logs of the daemons: {self._keep_logs()}")
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove the containers, stop the daemons, unmount and delete the folder."""
        self.close()

    def close(self) -> None:
        """As `__exit__`; each step is tried whatever became of the one before."""
        if self.socket.exists():
            with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
                identities = self.docker("ps", "--all", "--quiet").split()
                self.docker("rm", "--force", "--volumes", *identities) if identities else ""
        self.stop()
        clear_folder(self.folder)

    def stop(self) -> None:
        """Stop both daemons, and the containers with them; `start` brings the engine back with what it knew."""
        if self._pid is not None:
            self.namespace.stop(self._pid, patience_s=30)
            self._pid = None

    def docker(self, *arguments: str, stdin: bytes = b"", timeout_s: float = 60) -> str:
        """Run the docker command line against this engine and return what it printed."""
        command = ["docker", "--host", self.url, *arguments]
        result = subprocess.run(command, input=stdin, capture_output=True, timeout=timeout_s)
        if result.returncode:
            raise RuntimeError(f"docker {' '.join(arguments)}: {result.stderr.decode().strip()}")
        return result.stdout.decode().strip()

    def _configure(self) -> tuple[Path, Path]:
        """Write the daemons' files; without the Kubernetes plugin containerd wants no port and fewer folders."""
        containerd, dockerd = self.folder / "containerd.toml", self.folder / "daemon.json"
        address = self.folder / "containerd.sock"
        containerd.write_text(
            f'version = 2\nroot = "{self.folder}/containerd"\nstate = "{self.folder}/containerd-state"\n'
            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{address}"\n'
        )
        settings = {
            "bip": "172.17.0.1/16",
            "containerd": str(address),
            "data-root": str(self.folder / "data"),
            "exec-root": str(self.folder / "exec"),
            "hosts": [self.url],
            "log-driver": "none",
            "pidfile": str(self.folder / "docker.pid"),
            "shutdown-timeout": 5,
            "storage-driver": "vfs",
        }
        dockerd.write_text(json.dumps(settings | self._settings))
        return containerd, dockerd

    def start(self) -> None:
        """Start the daemons and wait for the engine's first answer; fail at once if they end."""
        log = self.folder / "engine.log"
        self._pid = pid = self._daemons(log)

        def ready() -> bool:
            if not self.namespace.running(pid):
                raise RuntimeError(f"the engine ended at once:\n{_tail(log)}")
            return _answers(self.socket)

        wait_until(ready, START_S, what="the engine's answer")

    def _daemons(self, log: Path) -> int:
        """Start both under one shell, which is the process returned."""
        files = [str(path) for path in (*self._configure(), self.folder / "containerd.log")]
        return self.namespace.start("sh", "-c", DAEMONS, "daemons", *files, log=log)

    def _keep_logs(self) -> Path:
        """Copy the daemons' logs to a folder that outlives this object."""
        kept = Path(tempfile.mkdtemp(prefix="natop-logs-"))
        for log in self.folder.glob("*.log"):
            shutil.copy(log, kept)
        return kept


def root_file_system() -> bytes:
    """A tar of the image: busybox (with its libraries where it is not static), links to it, and a page to serve."""
    buffer = io.BytesIO()
    busybox = Path(shutil.which("busybox") or "/bin/busybox")
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        _add(tar, "bin/busybox", busybox.read_bytes(), 0o755)
        for library in _libraries(busybox):
            _add(tar, library.lstrip("/"), Path(library).read_bytes(), 0o755)
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "/bin/busybox"
            tar.addfile(link)
        _add(tar, "www/index.html", b"ok\n", 0o644)
    return buffer.getvalue()


def clear_folder(folder: Path) -> None:
    """Unmount whatever is mounted below the folder (deepest first), then delete it."""
    points = re.findall(rf"^\S+ \S+ \S+ \S+ ({re.escape(str(folder))}/\S+)", _mounts(), re.MULTILINE)
    for point in sorted(points, key=len, reverse=True):
        subprocess.run(["umount", "--lazy", point], capture_output=True, timeout=30)
    shutil.rmtree(folder, ignore_errors=True)


def end_processes(folder: Path, patience_s: float = 10) -> None:
    """End whatever still runs for an engine and has its folder in its command line; nobody else has."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in _processes(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: not _processes(folder), patience_s, what=f"the processes of {folder}")


def _processes(folder: Path) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f"{folder}/".encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def sweep_folders() -> list[str]:
    """End what runs of dead processes left running, delete their folders, and return the names of those."""
    gone = []
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        owner = re.match(rf"{FOLDER_PREFIX}(\d+)-", folder.name)
        if owner and not Path("/proc", owner[1]).exists():
            end_processes(folder)
            clear_folder(folder)
            gone.append(folder.name)
    return gone


def _mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


def _libraries(program: Path) -> list[str]:
    """The shared libraries that a program needs, as ldd(1) names them; none for a static one."""
    listing = subprocess.run(["ldd", str(program)], capture_output=True, text=True, timeout=10).stdout
    return re.findall(r"(/\S+) \(0x", listing)


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    tar.addfile(member, io.BytesIO(content))


def _answers(path: Path) -> bool:
    """Whether an engine answers `GET /_ping` on its unix socket."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(5)
            connection.connect(str(path))
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(256)
    except OSError:
        return False


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(no log)"
