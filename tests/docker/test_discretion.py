"""What natop must not tell: secrets never enter it, and text from Docker never acts on a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import pytest

from natop.decode.inventory import decode_inventory
from tests.docker.inventory import guest, watching
from tests.kernel import product
from tests.lab import oracle
from tests.lab.dockerhost import DockerHost

EVERYTHING = (
    ("json", "--flows"),
    ("text", "--flows"),
    ("md", "--flows"),
    ("csv", "--flows"),
    ("csv",),
)
"""The formats that hold all that natop writes about a host."""

SECRET = "hunter2"
SECRETIVE = (
    *("--env", f"PASSWORD={SECRET}-env"),
    *("--label", f"backup.password={SECRET}-label"),
    *("--volume", f"{SECRET}-volume:/{SECRET}-mount"),
    *("--tmpfs", f"/{SECRET}-tmpfs"),
    *("--workdir", f"/{SECRET}-workdir"),
    *("--health-cmd", f"true {SECRET}-health"),
    *("--add-host", f"{SECRET}-host:10.0.0.1"),
    *("--network-alias", f"{SECRET}-alias"),
    *("--network", "internal"),
)
COMMAND = ("sh", "-c", f": {SECRET}-argument; exec sleep 1000000")

ESC = "\x1b"
HOSTILE = f"{ESC}[31m{ESC}]0;title\x07\x9b2J\u202egnp.exe\u2066\r\n[red]{ESC}Pq{ESC}\\"
"""Colour, window title, C1 controls, right-to-left override, an isolate, line ends, markup, a device control string."""


def outputs(host: DockerHost) -> dict[str, str]:
    """All that natop writes about the host, by format."""
    written = {}
    for form, *flows in EVERYTHING:
        done = product.natop(host.namespace, "snapshot", "--docker-host", host.url, "--format", form, *flows)
        assert (done.returncode, done.stderr) == (0, "")
        assert "guest" in done.stdout, (form, flows)
        written[" ".join((form, *flows))] = done.stdout
    return written


def test_secrets_never_enter(docker_host: DockerHost) -> None:
    with guest(docker_host, *SECRETIVE, command=COMMAND):
        assert docker_host.docker("inspect", "guest").count(SECRET) >= 8
        assert docker_host.egress("guest") == 1
        assert {form for form, output in outputs(docker_host).items() if SECRET in output} == set()
        with watching(docker_host.url) as watcher:
            docker_host.docker("rename", "guest", "guest-2")
            docker_host.docker("rename", "guest-2", "guest")
            reading, _ = watcher.latest()
            assert reading is not None
            assert "guest" in repr(reading)
            sample_repr = repr((reading, decode_inventory(reading), product.read(docker_host.namespace, watcher)))
            assert SECRET not in sample_repr
            assert SECRET not in repr(vars(watcher))


def unsafe(text: str) -> set[str]:
    """Characters that a terminal acts upon or that reorder and hide text; line ends are natop's own."""
    categories = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
    return {char for char in text if unicodedata.category(char) in categories} - {"\n"}


@pytest.fixture
def hostile_host(docker_host: DockerHost) -> Iterator[DockerHost]:
    """The lab with a network of a hostile name, and on it a container whose compose labels are as bad."""
    labels = {"project": f"p{HOSTILE}", "service": f"s{HOSTILE}"}
    options = [part for key, text in labels.items() for part in ("--label", f"com.docker.compose.{key}={text}")]
    network = docker_host.docker("network", "create", f"net{HOSTILE}")
    try:
        with guest(docker_host, *options, "--network", f"net{HOSTILE}"):
            yield docker_host
    finally:
        docker_host.docker("network", "rm", network)


def test_hostile_names_never_reach_a_terminal(hostile_host: DockerHost) -> None:
    assert hostile_host.egress("guest") == 1
    written = outputs(hostile_host)
    assert {form: unsafe(output) for form, output in written.items() if unsafe(output)} == {}
    rows = len(hostile_host.inspect()) + 1
    assert len(written["csv"].splitlines()) == 1 + rows, "a name must not break its line"
    assert len(written["json --flows"].splitlines()) == 1
    assert "\\[red\\]" in written["md --flows"]
    assert "[red]" not in written["md --flows"]
    assert "[red]" in written["text --flows"], "the harmless part must still be there"


def test_hostile_names_are_kept_as_harmless_text(hostile_host: DockerHost) -> None:
    document = product.snapshot(hostile_host.namespace, "--docker-host", hostile_host.url, "--filter", "guest")
    (container,) = document["containers"]
    (place,) = container["networks"]
    for text in (container["project"], container["service"], container["network_mode"], place["name"]):
        assert text.isprintable()
        assert len(text.lstrip("psnet")) == len(HOSTILE)
        assert text.endswith("[red]\ufffdPq\ufffd\\")
    assert place["driver"] == "bridge"
    assert place["ipv4"] in oracle.container_addresses(hostile_host.inspect("guest")[0])


def test_hostile_arguments_are_not_echoed_raw(docker_host: DockerHost) -> None:
    for arguments in (("--filter", f"x{HOSTILE}:"), ("--netns", HOSTILE)):
        done = product.natop(docker_host.namespace, "snapshot", *arguments)
        assert unsafe(done.stdout + done.stderr) == set(), arguments
