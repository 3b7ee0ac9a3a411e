"""natop as these layers use it: as a process inside a namespace, or its reading taken by the test's own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from natop.collect.engine import EngineWatcher
from natop.collect.host import HostReader
from natop.decode.counters import PROC_FILES
from natop.export.flowdocument import flow_objects
from natop.join.flows import Flows
from natop.model import Snapshot
from natop.observe import observe
from tests.lab.netns import Namespace

WITHOUT_NET_ADMIN = ("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", "--")
"""A command before natop: root, but without CAP_NET_ADMIN."""
NATOP = (sys.executable, "-m", "natop")
Row = dict[str, Any]
Finished = subprocess.CompletedProcess[str]


def natop(
    namespace: Namespace | None,
    *arguments: str,
    by: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    timeout_s: float = 60,
) -> Finished:
    """Run `natop ARGUMENTS…` in a namespace (None: the caller's), through the command `by`, and wait for its end."""
    command = [*by, *NATOP, *arguments]
    argv = namespace.enter(*command) if namespace else command
    return subprocess.run(argv, capture_output=True, text=True, env=environment(env), timeout=timeout_s)


def start(namespace: Namespace | None, *arguments: str) -> subprocess.Popen[str]:
    """Start `natop ARGUMENTS…` with pipes; the caller waits for it in a `with` block."""
    command = namespace.enter(*NATOP, *arguments) if namespace else [*NATOP, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what names a Docker Engine."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")} | dict(more or {})


def snapshot(namespace: Namespace | None, *arguments: str, **options: Any) -> dict[str, Any]:
    """The document that `natop snapshot ARGUMENTS…` prints; anything on stderr is a failure."""
    done = natop(namespace, "snapshot", "--format", "json", *arguments, **options)
    assert (done.returncode, done.stderr) == (0, "")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def read(namespace: Namespace, watcher: EngineWatcher | None = None, before: Snapshot | None = None) -> Snapshot:
    """One reading of a namespace with its flows, beside the one before it."""
    reader = HostReader(PROC_FILES, namespace.path, watcher)
    return observe(before, reader.sample(dump=True))


def rows(taken: Snapshot) -> list[Row]:
    """Every flow of a snapshot as the JSON document has it."""
    flows = Flows.of(taken)
    assert flows is not None, taken.gaps
    every = np.arange(len(flows.table))
    return [msgspec.to_builtins(row) for row in flow_objects(flows, every)]
