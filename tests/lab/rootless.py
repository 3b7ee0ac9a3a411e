"""Engines without root: a user of the lab's own, a rootless Docker Engine and a rootless Podman service of that user's.

    outside 198.18.0.2 ──veth── 198.18.0.1 host ──slirp4netns── the engine's own namespace
                                                                  ├─ bridge    webserver  8080→80, 8443→443
                                                                  ├─ internal  webserver, app1, app2
                                                                  └─ hostnet   port 9000

The user exists in a mount namespace of its own alone, where /etc/passwd and its like are others: this machine's stay as
they are. There everybody may use /dev/net/tun, as most machines allow, and read Python and natop, wherever they are.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tests.lab import podman
from tests.lab.dockerhost import WEB, DockerHost, Service
from tests.lab.engine import Engine, end_processes
from tests.lab.netns import Namespace, wait_until

USER, NUMBER = "natop-lab", 58231
SUBORDINATE = "600000:65536"
"""subuid(5); these numbers are nobody's where nobody has been given them."""
SCRIPTS = ("/usr/share/docker.io/contrib/dockerd-rootless.sh", "/usr/bin/dockerd-rootless.sh")
"""Docker's own way to start a rootless engine, as Debian and as Docker's packages have it."""
REPOSITORY = Path(__file__).parents[2]
COMMANDS = ("rootlesskit", "slirp4netns", "newuidmap")
WITHOUT_SYSTEMD = {"exec-opts": ["native.cgroupdriver=cgroupfs"]}
"""On a machine with systemd and cgroup v2, a rootless engine asks the user's systemd else; this user has none."""
SERVICES = (
    Service("webserver", "bridge", WEB, ("-p", "8080:80", "-p", "8443:443"), ("internal",)),
    *(Service(f"app{number}", "internal", WEB) for number in (1, 2)),
    Service("hostnet", "host", "exec httpd -f -p 9000 -h /www"),
)


def script() -> str | None:
    """Where Docker's script is."""
    return next((path for path in SCRIPTS if Path(path).exists()), shutil.which("dockerd-rootless.sh"))


def missing() -> str:
    """What this machine lacks for engines without root, in words; empty when nothing."""
    lacking = [name for name in COMMANDS if not shutil.which(name)]
    lacking += [] if script() else ["dockerd-rootless.sh"]
    if lacking:
        return f"not installed: {', '.join(lacking)} (tests/lab/packages.sh installs them)"
    return "" if Path("/dev/net/tun").exists() else "there is no /dev/net/tun"


SLIRP = 'default_rootless_network_cmd = "slirp4netns"'
"""What joins the namespace of Podman's networks with the host's, since Podman 5 pasta unless told otherwise."""
NETWORKS = ("netns/rootless-netns-*", "containers/networks/rootless-netns/rootless-netns")
"""Where a rootless Podman has the namespace of its networks: until 4, and from 5 on."""


class UserEngine(Engine):
    """What the engines without root have in common."""

    def __init__(self, namespace: Namespace) -> None:
        """Make the user's folders, and what is to be seen instead of this machine's files."""
        super().__init__(namespace)
        self.home, self.run, self._etc = (self.folder / name for name in ("home", "run", "etc"))
        self.folder.chmod(0o755)
        for folder in (self.home, self.run, self._etc):
            folder.mkdir()
        for folder in (self.home, self.run):
            os.chown(folder, NUMBER, NUMBER)
        self.run.chmod(0o700)
        self.socket = self.run / "docker.sock"
        self.url = f"unix://{self.socket}"

    def as_user(self, *command: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command as the user would in a shell of theirs on the host."""
        inside = ["nsenter", "--target", str(self._pid), "--mount", "--net", f"--wd={self.home}", "--"]
        return subprocess.run(
            [*inside, *self._becoming(), *command],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=self._variables(),
        )

    def stop(self) -> None:
        """Stop the engine; whatever of it goes on is ended."""
        super().stop()
        end_processes(self.folder)

    def _variables(self) -> Mapping[str, str]:
        """The user's environment."""
        return {
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(self.run),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "USER": USER,
        }

    def _becoming(self) -> list[str]:
        return ["setpriv", f"--reuid={NUMBER}", f"--regid={NUMBER}", "--clear-groups", "--"]

    def _start_as_user(self, log: Path, *command: str) -> int:
        """The user's process that stands for the engine; it lives in the user's mount namespace."""
        lines = ["set -e", *self._sights(), 'exec "$@"']
        apart = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "\n".join(lines), "sh"]
        return self.namespace.start(*apart, *self._becoming(), *command, log=log, env=self._variables())

    def _sights(self) -> Iterator[str]:
        """Shell commands that make this machine another in a mount namespace."""
        rows = {"passwd": f"{USER}:x:{NUMBER}:{NUMBER}::{self.home}:/bin/sh", "group": f"{USER}:x:{NUMBER}:"}
        for name in ("passwd", "group", "subuid", "subgid"):
            own = Path("/etc", name)
            before = own.read_text() if name in rows else ""
            (self._etc / name).write_text(f"{before}{rows.get(name, f'{USER}:{SUBORDINATE}')}\n")
            yield f"mount --bind {self._etc / name} {own}"
        yield f"mknod {self._etc}/tun c 10 200; chmod 666 {self._etc}/tun; mount --bind {self._etc}/tun /dev/net/tun"
        yield from self._opened({Path(sys.base_prefix), Path(sys.prefix), REPOSITORY})

    def _opened(self, paths: Iterable[Path]) -> Iterator[str]:
        """Show these folders to everybody where one above them is closed: that one is empty then, but for them."""
        closed = {path: gate for path in sorted(paths) if (gate := _gate(path))}
        kept = {path: self._etc / f"kept{number}" for number, path in enumerate(closed)}
        for path, place in kept.items():
            yield f"mkdir {place}; mount --bind {path} {place}"
        for gate in set(closed.values()):
            yield f"mount -t tmpfs -o mode=755 tmpfs {gate}"
        for path, place in kept.items():
            yield f"mkdir -p {path}; mount --move {place} {path}"


def _gate(path: Path) -> Path | None:
    """The topmost folder above a path that not everybody may pass."""
    return next((each for each in reversed(path.parents) if not each.stat().st_mode & 0o001), None)


class RootlessDocker(UserEngine):
    """dockerd below rootlesskit, started by Docker's own script, with a network namespace of its own."""

    def __init__(self, namespace: Namespace) -> None:
        """Everything of the engine's is in the user's folders, and it starts containerd itself."""
        super().__init__(namespace)
        places = {"data-root": self.home / "data", "exec-root": self.run / "docker", "pidfile": self.run / "docker.pid"}
        self._settings = {name: str(place) for name, place in places.items()} | {"containerd": "", **WITHOUT_SYSTEMD}

    @property
    def process(self) -> int:
        """dockerd's, as its pidfile tells."""
        return int((self.run / "docker.pid").read_text())

    @property
    def networks(self) -> Path:
        """The file of the engine's own network namespace; rootlesskit may keep it apart from dockerd's."""
        apart = Path(f"/proc/{self.process}/root{self.run}/dockerd-rootless/netns")
        return apart if apart.exists() else Path(f"/proc/{self.process}/ns/net")

    def stop(self) -> None:
        """Stop dockerd first: rootlesskit ends with it."""
        pid = self._pid
        if pid is not None and self.namespace.running(pid):
            with contextlib.suppress(OSError, ValueError, TimeoutError):
                os.kill(self.process, signal.SIGTERM)
                wait_until(lambda: not self.namespace.running(pid), 30, what="the end of the rootless engine")
        super().stop()

    def _daemons(self, log: Path) -> int:
        found = script()
        if found is None:
            raise RuntimeError("no dockerd-rootless.sh on this machine")
        _, settings = self._configure()
        return self._start_as_user(log, "sh", found, "--config-file", str(settings))


class RootlessPodman(UserEngine):
    """`podman system service` of the user's; its networks are in a namespace that it makes for them."""

    @property
    def networks(self) -> Path:
        """The file of that namespace, as the process sees it that keeps Podman's namespaces alive."""
        seen = Path(f"/proc/{self._pause()}/root{self.run}")
        found = (path for pattern in NETWORKS for path in seen.glob(pattern))
        return next(found)

    def _pause(self) -> int:
        return int((self.run / "libpod" / "tmp" / "pause.pid").read_text())

    def _daemons(self, log: Path) -> int:
        return self._start_as_user(log, "podman", "system", "service", "--time", "0", self.url)

    def _variables(self) -> Mapping[str, str]:
        made = podman.configured(self.folder, network=SLIRP if podman.version() >= 5 else "")
        return {**super()._variables(), **{name: made[name] for name in made if name.startswith("CONTAINERS_")}}

    def stop(self) -> None:
        """Podman's process that keeps its namespaces alive is told by a file."""
        super().stop()
        with contextlib.suppress(OSError, ValueError):
            os.kill(self._pause(), signal.SIGKILL)


class RootlessDockerHost(DockerHost):
    """The host of the drawing above with a rootless Docker Engine, running while its `with` block does."""

    ports = (8080, 8443)
    engine: RootlessDocker

    @property
    def within(self) -> Namespace:
        """The engine's own network namespace."""
        return Namespace.at(self.engine.networks)

    def _engine(self) -> RootlessDocker:
        return RootlessDocker(self.namespace)

    def _services(self) -> tuple[Service, ...]:
        return SERVICES


class RootlessPodmanHost(DockerHost):
    """The same with a rootless Podman service; a container on the host's network is in the host's namespace here."""

    engine: RootlessPodman

    @property
    def within(self) -> Namespace:
        """The namespace that Podman made for its networks: its slirp4netns is in the host's and holds a file there."""
        return Namespace.at(self.engine.networks)

    def _engine(self) -> RootlessPodman:
        return RootlessPodman(self.namespace)

    def _services(self) -> tuple[Service, ...]:
        return podman.SERVICES
