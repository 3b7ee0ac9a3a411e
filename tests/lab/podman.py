"""A Podman service of its own, inside one namespace, that speaks Docker's language on its socket.

    outside 198.18.0.2 ──veth── 198.18.0.1 host
                                  ├─ podman    10.88.0.0/16    webserver  8080→80, 8443→443
                                  ├─ internal  172.18.0.0/16   webserver, app1, app2
                                  ├─ hostnet   the host's own namespace, port 9000
                                  └─ nonet     no network at all

Nothing of the machine's own Podman is read or touched: its configuration, storage and networks are elsewhere.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
from pathlib import Path

from tests.lab.dockerhost import WEB, DockerHost, Service
from tests.lab.engine import Engine, end_processes

COMMANDS, HELPERS = ("podman", "conmon", "runc"), ("netavark", "aardvark-dns")
PLACES = ("/usr/lib/podman", "/usr/libexec/podman")
"""Where Podman looks for its helpers."""
CONTAINERS = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "none"
[network]
network_backend = "netavark"
{network}
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
{engine}
"""
"""containers.conf(5): as on a machine without systemd; no limit is above what the tests themselves may have."""
SERVICES = (
    Service("webserver", "podman", WEB, ("-p", "8080:80", "-p", "8443:443"), ("internal",)),
    *(Service(f"app{number}", "internal", WEB) for number in (1, 2)),
    Service("hostnet", "host", "exec httpd -f -p 9000 -h /www"),
    Service("nonet", "none", "exec sleep 1000000"),
)


def missing() -> str:
    """What this machine lacks for a Podman service, in words; empty when nothing."""
    lacking = [name for name in COMMANDS if not shutil.which(name)]
    lacking += [name for name in HELPERS if not any(Path(place, name).exists() for place in PLACES)]
    return f"not installed: {', '.join(lacking)} (tests/lab/packages.sh installs them)" if lacking else ""


@functools.cache
def version() -> int:
    """Podman's major version, by `podman version 4.3.1`; it asks for no user's configuration."""
    command, plain = ["podman", "--version"], {"PATH": os.environ["PATH"], "HOME": "/"}
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30, env=plain).stdout
    return int(said.split()[-1].split(".")[0])


def configured(folder: Path, network: str = "", engine: str = "", storage: str = "") -> dict[str, str]:
    """The environment of Podman's commands, which names the files of its configuration that are written here."""
    containers, store = folder / "containers.conf", folder / "storage.conf"
    containers.write_text(CONTAINERS.format(network=network, engine=engine))
    store.write_text(f'[storage]\ndriver = "vfs"\n{storage}')
    return {**os.environ, "CONTAINERS_CONF": str(containers), "CONTAINERS_STORAGE_CONF": str(store)}


class Podman(Engine):
    """`podman system service` of root's for one namespace, with one small image; stopped and cleaned up on exit."""

    def podman(self, *arguments: str, timeout_s: float = 60) -> str:
        """Run the podman command line beside the service and return what it printed."""
        command = self.namespace.enter("podman", *arguments)
        result = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=self._environment())
        if result.returncode:
            raise RuntimeError(f"podman {' '.join(arguments)}: {result.stderr.strip()}")
        return result.stdout.strip()

    def close(self) -> None:
        """Remove the containers, also those of pods, then all the rest."""
        if self.socket.exists():
            for kind in ("pod", "container"):
                with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
                    self.podman(kind, "rm", "--all", "--force", "--time", "0")
        super().close()

    def stop(self) -> None:
        """Stop the service. The monitors of commands that ran in containers outlive it by minutes: they go, too."""
        super().stop()
        end_processes(self.folder)

    def _daemons(self, log: Path) -> int:
        command = ("podman", "system", "service", "--time", "0", self.url)
        return self.namespace.start(*command, log=log, env=self._environment())

    def _environment(self) -> dict[str, str]:
        return configured(
            self.folder,
            network=f'network_config_dir = "{self.folder}/networks"',
            engine=f'tmp_dir = "{self.folder}/tmp"',
            storage=f'graphroot = "{self.folder}/root"\nrunroot = "{self.folder}/runroot"\n',
        )


class PodmanHost(DockerHost):
    """The host of the drawing above, running while its `with` block does; docker(1) is its client."""

    engine: Podman

    def podman(self, *arguments: str, timeout_s: float = 60) -> str:
        """Run the podman command line on this host."""
        return self.engine.podman(*arguments, timeout_s=timeout_s)

    def _engine(self) -> Podman:
        return Podman(self.namespace)

    def _services(self) -> tuple[Service, ...]:
        return SERVICES
