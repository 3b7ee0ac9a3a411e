"""`python -m tests.lab [OPTIONS] [-- COMMAND…]`: the lab's Docker host with lively traffic, for developers.

COMMAND runs in the host's network namespace with DOCKER_HOST set; everything is removed when it ends. Without a
COMMAND the lab says how to enter it and stays until Ctrl+C or until its time is up.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time

from tests.lab.bustle import HIGHEST_RATE, Bustle
from tests.lab.dockerhost import DockerHost
from tests.lab.engine import sweep_folders
from tests.lab.layers import missing
from tests.lab.netns import sweep


def main() -> int:
    """Build the lab, run the command in it, take it down; the command's exit status, or 3 without the means."""
    options = _options()
    lacking = missing("docker")
    if lacking:
        print(f"the lab cannot run: {lacking}", file=sys.stderr)
        return 3
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(128 + signal.SIGTERM))
    sweep()
    sweep_folders()
    with DockerHost(timeouts={}) as host, Bustle(host, options.rate, options.seconds) as bustle:
        _introduce(host)
        time.sleep(options.warm)
        try:
            status = _run(host, options.command) if options.command else _wait(options.seconds)
        except KeyboardInterrupt:
            status = 130
        print(f"traffic: {dict(bustle.done)} failed: {dict(bustle.failed)}", file=sys.stderr)
    return status


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    parser.add_argument("--rate", type=float, default=90, help=f"new connections a second, at most {HIGHEST_RATE}")
    parser.add_argument("--for", type=float, default=600, dest="seconds", help="seconds of traffic, default 600")
    parser.add_argument("--warm", type=float, default=0, help="seconds of traffic before COMMAND starts")
    parser.add_argument("command", nargs="*", metavar="COMMAND", help="runs in the host's namespace")
    return parser.parse_args()


def _introduce(host: DockerHost) -> None:
    """Tell where the engine and the namespace are; on stderr, for stdout belongs to the command."""
    lines = (
        f"export DOCKER_HOST={host.url}",
        f"nsenter --net={host.namespace.path}      # the host; the outside is {host.outside.path}",
    )
    print("\n".join(lines), file=sys.stderr, flush=True)


def _run(host: DockerHost, command: list[str]) -> int:
    """Run the command on this terminal; Ctrl+C is the command's to handle."""
    environment = os.environ | {"DOCKER_HOST": host.url}
    process = subprocess.Popen(host.namespace.enter(*command), env=environment)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue
        except SystemExit:
            process.terminate()
            process.wait(30)
            raise


def _wait(seconds: float) -> int:
    time.sleep(seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
