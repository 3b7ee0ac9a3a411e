"""What natop prints for a person to run, run by the shell as it is printed, in the place that it is about."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.lab.netns import Namespace, namespace_path

Finding = Mapping[str, Any]
REPOSITORY = Path(__file__).parents[2]
PATIENCE_S = 120


def shell(place: Namespace | Path | None, command: str, docker: str = "") -> str:
    """What `sh -c COMMAND` prints in a network namespace (None: this process's); AssertionError where it fails.

    `docker` is the engine that the command line `docker`, and natop, shall speak to.
    """
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
    environment |= {"PATH": path, "PYTHONPATH": str(REPOSITORY)} | ({"DOCKER_HOST": docker} if docker else {})
    enter = ["nsenter", f"--net={namespace_path(place)}", "--"] if place else []
    done = subprocess.run(
        [*enter, "sh", "-c", command], capture_output=True, text=True, timeout=PATIENCE_S, env=environment
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


def doctor(place: Namespace, *arguments: str, seconds: int = 2) -> list[Finding]:
    """The findings of `natop doctor` in a namespace."""
    command = [sys.executable, "-m", "natop", "doctor", "--for", str(seconds), "--format", "json", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
    done = subprocess.run(
        place.enter(*command), capture_output=True, text=True, timeout=PATIENCE_S, env=environment, cwd=REPOSITORY
    )
    assert (done.returncode, done.stderr) == (0, "")
    found: list[Finding] = json.loads(done.stdout)["findings"]
    return found


def rules(findings: Sequence[Finding]) -> list[str]:
    """Their rules' names, as often as each speaks."""
    return [each["rule"] for each in findings]


def finding(findings: Sequence[Finding], rule: str) -> Finding:
    """The only one of a rule."""
    (only,) = (each for each in findings if each["rule"] == rule)
    return only


def quoted(text: str) -> list[str]:
    """What stands in backticks, to be typed or written somewhere as it is."""
    return re.findall(r"`([^`]+)`", text)
