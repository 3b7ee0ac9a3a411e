"""`natop demo` on the real kernel: its NAT, its traffic, and that nothing of it stays behind."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyroute2
import pytest

from tests.kernel import product
from tests.lab.layers import lack
from tests.lab.netns import wait_until

pytestmark = pytest.mark.kernel

PACKAGES = Path(__file__).parents[2]
STARTER = "import sys; from natop.demo.run import run; sys.exit(run(tuple(sys.argv[2:]), program=(sys.argv[1],)))"
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")

PROBE = """
import http.client, json, os, socket
path = os.environ["DOCKER_HOST"].removeprefix("unix://")
connection = http.client.HTTPConnection("engine")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(path)
def ask(path):
    connection.request("GET", path)
    return json.loads(connection.getresponse().read())
def netns(pid):
    return os.readlink(f"/proc/{pid}/ns/net")
containers = [ask(f"/containers/{each['Id']}/json") for each in ask("/containers/json?all=1")]
print(json.dumps({
    "uid": os.getuid(),
    "hostname": socket.gethostname(),
    "engine": ask("/info")["Name"],
    "netns": netns("self"),
    "containers": {each["Name"][1:]: netns(each["State"]["Pid"]) for each in containers},
    "flows": open("/proc/net/nf_conntrack").read().splitlines(),
    "bridged": os.path.exists("/proc/sys/net/bridge/bridge-nf-call-iptables"),
}))
"""


@dataclass
class Stage:
    """Where a test runs the demo: as whom, with which Python, and with a place and a mark of its own."""

    temporary: Path
    python: tuple[str, ...] = (sys.executable,)
    packages: str = str(PACKAGES)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def environment(self) -> dict[str, str]:
        mine = {"TMPDIR": str(self.temporary), "DEMO_TEST": self.mark, "PYTHONPATH": self.packages}
        return {**os.environ, **mine, "PYTHONDONTWRITEBYTECODE": "1"}

    def start(self, *command: str, **options: Any) -> subprocess.Popen[str]:
        """Start the demo with `command` in the place of natop."""
        return subprocess.Popen(
            (*self.python, "-c", STARTER, *command),
            env=self.environment,
            cwd="/",
            text=True,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )

    def finish(self, demo: subprocess.Popen[str]) -> tuple[int, str, str]:
        """Its exit status, stdout and stderr, once nothing of it is left."""
        out, err = demo.communicate(timeout=90)
        self.expect_nothing_left()
        return demo.returncode, out, err

    def processes(self) -> dict[int, str]:
        """Every process that was started from this stage, by its environment: pid to command name."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if self.mark.encode() in (entry / "environ").read_bytes():
                    found[int(entry.name)] = (entry / "comm").read_text().strip()
            except (OSError, ValueError):
                continue
        return found

    def sweep(self) -> None:
        """Kill what a failed test left."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def expect_nothing_left(self, within_s: float = 30) -> None:
        """Fail unless every process and every file of the demo goes away in time."""
        ends = time.monotonic() + within_s
        while (self.processes() or list(self.temporary.iterdir())) and time.monotonic() < ends:
            time.sleep(0.05)
        assert self.processes() == {}
        assert list(self.temporary.iterdir()) == []


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that every user can use: pytest's own are for their owner only."""
    path = Path(tempfile.mkdtemp(prefix="natop-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def as_root(directory: Path) -> Iterator[Stage]:
    stage = Stage(_temporary(directory))
    yield stage
    stage.sweep()


@pytest.fixture
def as_nobody(directory: Path) -> Iterator[Stage]:
    """The demo as a user without any right, with copies of what that user may not be able to read."""
    packages = directory / "packages"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGES / "natop", packages / "natop", ignore=ignore)
    shutil.copytree(Path(pyroute2.__file__).parent, packages / "pyroute2", ignore=ignore)
    subprocess.run(("chmod", "-R", "a+rX", str(directory)), check=True)
    stage = Stage(_temporary(directory), (*NOBODY, _readable_python()), str(packages))
    yield stage
    stage.sweep()


@pytest.fixture(params=["as_root", "as_nobody"])
def stage(request: pytest.FixtureRequest) -> Stage:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Stage)
    return found


def _temporary(directory: Path) -> Path:
    temporary = directory / "tmp"
    temporary.mkdir()
    temporary.chmod(0o1777)
    return temporary


def _readable_python() -> str:
    """A Python 3.11 or newer that user nobody may run."""
    check = "import os, sys; sys.exit(sys.version_info < (3, 11) or not os.access(sys.executable, os.X_OK))"
    for candidate in (sys.executable, "/usr/bin/python3"):
        if Path(candidate).exists() and not subprocess.run((*NOBODY, candidate, "-c", check)).returncode:
            return candidate
    lack("no Python 3.11 that an unprivileged user may run is installed")
    return ""


def count(flows: list[str], pattern: str) -> int:
    return sum(bool(re.search(pattern, flow)) for flow in flows)


def test_flows_are_published_masqueraded_and_internal(stage: Stage) -> None:
    began = time.monotonic()
    demo = stage.start(_python_of(stage), "-c", PROBE)
    status, out, err = stage.finish(demo)
    assert status == 0, err
    assert err == ""
    assert time.monotonic() - began < 30
    seen = json.loads(out)
    flows = seen["flows"]
    assert len(flows) >= 60
    published = r"src=198\.18\.0\.2 dst=198\.18\.0\.1 sport=(\d+) dport=8080 .*src=172\.17\.0\.2 .*sport=80 dport=\1 "
    assert count(flows, "TIME_WAIT " + published) >= 10
    assert count(flows, r"ESTABLISHED .*dport=8443 .*src=172\.17\.0\.2 dst=198\.18\.0\.2 sport=443") >= 6
    masqueraded = r"src=172\.18\.0\.[345] dst=198\.18\.1\.2 .*src=198\.18\.1\.2 dst=198\.18\.1\.1 "
    assert count(flows, r"tcp .*" + masqueraded) >= 10
    assert count(flows, r"udp .*" + masqueraded + "sport=53") >= 3
    if seen["bridged"]:
        assert count(flows, r"src=172\.18\.0\.2 dst=172\.18\.0\.[345] .*dport=8080") >= 10


def test_containers_are_real_processes_with_namespaces_of_their_own(stage: Stage) -> None:
    status, out, _ = stage.finish(stage.start(_python_of(stage), "-c", PROBE))
    assert status == 0
    seen = json.loads(out)
    assert seen["uid"] == 0
    assert seen["hostname"] == seen["engine"] == "natop-demo"
    spaces = seen["containers"]
    assert set(spaces) == {"web", "app1", "app2", "app3", "metrics"}
    assert spaces["metrics"] == seen["netns"] != os.readlink("/proc/self/ns/net")
    assert len(set(spaces.values())) == 5


def test_a_host_network_container_has_its_flows(tmp_path: Path) -> None:
    """By its first process: the demo may not make cgroups."""
    command = [*product.NATOP, "demo", "snapshot", "--format", "json", "--every", "1", "--count", "8"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=90, cwd=tmp_path)
    last = json.loads(run.stdout.splitlines()[-1])
    (metrics,) = [each for each in last["containers"] if each["name"] == "metrics"]
    assert metrics["network_mode"] == "host"
    assert metrics["flows"]["inbound"] >= 1


LOOK = "import json; from pathlib import Path; print(json.dumps(Path('/proc/net/nf_conntrack').read_text()))"


def test_every_way_to_a_published_port_is_there(as_root: Stage) -> None:
    """As on a host without docker-proxy: at 127.0.0.1 NAT leads calls on, from an address of the bridge."""
    commands = (*product.NATOP, "snapshot", "--probe", "--format", "json"), (sys.executable, "-c", LOOK)
    status, out, err = as_root.finish(as_root.start("sh", "-c", " && ".join(map(shlex.join, commands))))
    assert (status, err) == (0, "")
    document, table = (json.loads(line) for line in out.splitlines())
    assert document["host"]["docker"]["userland_proxy"] is False
    assert {(each["target"], each["path"], each["error"]) for each in document["probes"]} == {
        (target, path, None)
        for path, *targets in (
            ("container", "172.17.0.2:80", "172.17.0.2:443"),
            ("published", "198.18.0.1:8080", "198.18.0.1:8443"),
            ("loopback", "127.0.0.1:8080", "127.0.0.1:8443"),
        )
        for target in targets
    }
    led_on = r"src=127\.0\.0\.1 dst=127\.0\.0\.1 .*dport=(8080|8443) .*src=172\.17\.0\.2 dst=172\.17\.0\.1 "
    assert count(table.splitlines(), led_on) == 2
    hairpin = {each["name"]: each["hairpin"] for each in document["nat_rules"]["networks"]}
    assert "172.17.0.2" in hairpin["bridge"]["text"]
    assert [each["others"] for each in document["nat_rules"]["networks"]] == [[], []]


def _python_of(stage: Stage) -> str:
    return stage.python[-1]


@pytest.mark.parametrize(("who", "place"), [((), "as_root"), (NOBODY, "as_nobody")], ids=["as root", "as nobody"])
def test_a_shell_on_its_host(request: pytest.FixtureRequest, who: tuple[str, ...], place: str) -> None:
    """As the help has it: the first line for root, the second for others."""
    stage = request.getfixturevalue(place)
    told = product.natop(None, "demo", "--help").stdout
    lines = [line.strip() for line in told.splitlines() if "nsenter" in line]
    mine = f"'natop.demo.host {stage.temporary}'"  # others may have a demo too
    demo = stage.start("sleep", "60")
    wait_for_natop(stage)
    asked = f"{lines[bool(who)].replace('natop.demo.host', mine)} sh -c 'id -u; nft list tables'"
    shell = subprocess.run((*who, "sh", "-c", asked), capture_output=True, text=True, check=False, cwd="/")
    demo.send_signal(signal.SIGINT)
    stage.finish(demo)
    assert shell.stdout.split() == ["0", "table", "ip", "docker-bridges"], shell.stderr


def test_streams_and_exit_status_go_straight_through(as_root: Stage) -> None:
    demo = as_root.start("sh", "-c", "cat; echo oops >&2; exit 7", stdin=subprocess.PIPE)
    assert demo.stdin is not None
    demo.stdin.write("through")
    demo.stdin.close()
    demo.stdin = None
    assert as_root.finish(demo) == (7, "through", "oops\n")


def test_a_program_killed_by_a_signal_is_128_and_its_number(as_root: Stage) -> None:
    assert as_root.finish(as_root.start("sh", "-c", "kill -KILL $$"))[0] == 128 + signal.SIGKILL


def test_without_a_terminal_it_is_a_snapshot(as_root: Stage) -> None:
    status, out, err = as_root.finish(as_root.start("echo"))
    assert (status, out) == (0, "snapshot --format text\n")
    assert len(err.splitlines()) == 1
    assert "terminal" in err


def wait_for_natop(stage: Stage) -> tuple[int, int]:
    """The pids of the demo's host process and of its machine `web`, once the program in natop's place runs."""
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        names = {name: pid for pid, name in stage.processes().items()}
        if "sleep" in names and "web" in names:
            return int(Path(f"/proc/{names['web']}/stat").read_text().rpartition(")")[2].split()[1]), names["web"]
        time.sleep(0.02)
    pytest.fail("the demo did not start")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_natop_and_then_the_demo(as_root: Stage, number: signal.Signals) -> None:
    demo = as_root.start("sleep", "60")
    wait_for_natop(as_root)
    demo.send_signal(number)
    assert as_root.finish(demo)[0] == 128 + number


def test_a_natop_that_ignores_the_signal_is_killed(as_root: Stage) -> None:
    demo = as_root.start("sh", "-c", "trap '' TERM; sleep 60 & wait; sleep 60")
    wait_for_natop(as_root)
    demo.send_signal(signal.SIGTERM)
    assert demo.wait(60) == 128 + signal.SIGKILL, demo.stderr.read() if demo.stderr else ""
    as_root.sweep()
    as_root.finish(demo)


def test_nothing_is_left_when_the_starter_is_killed(stage: Stage) -> None:
    demo = stage.start("sleep", "60")
    wait_for_natop(stage)
    demo.kill()
    assert stage.finish(demo)[0] == -signal.SIGKILL


def test_nothing_is_left_when_the_host_process_is_killed(as_root: Stage) -> None:
    demo = as_root.start("sleep", "3")
    host, web = wait_for_natop(as_root)
    os.kill(host, signal.SIGKILL)
    wait_until(lambda: web not in as_root.processes(), what="the machine to end with its host")
    assert as_root.finish(demo)[0] == 0


def test_only_files_can_be_left_when_starter_and_host_are_killed_together(as_root: Stage) -> None:
    demo = as_root.start("sleep", "60")
    host, _ = wait_for_natop(as_root)
    os.kill(host, signal.SIGSTOP)
    demo.kill()
    os.kill(host, signal.SIGKILL)
    demo.communicate(timeout=60)
    wait_until(lambda: not as_root.processes(), what="every process to end")


@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.3, 0.5])
def test_interrupted_while_it_is_being_built(as_root: Stage, after_s: float) -> None:
    demo = as_root.start("sleep", "60")
    ends = time.monotonic() + 60
    while not list(as_root.temporary.iterdir()) and time.monotonic() < ends:
        time.sleep(0.005)
    time.sleep(after_s)
    demo.send_signal(signal.SIGINT)
    assert as_root.finish(demo)[0] == 128 + signal.SIGINT


def test_the_terminal_s_interrupt_reaches_natop_once(as_root: Stage) -> None:
    counting = (
        "import signal, time\ncame = []\nsignal.signal(signal.SIGINT, lambda *_: came.append(1))\n"
        "print('ready', flush=True)\nends = time.monotonic() + 10\n"
        "while not came and time.monotonic() < ends: time.sleep(0.01)\n"
        "time.sleep(0.5)\nprint('interrupts:', len(came))"
    )
    ours, terminal = os.openpty()
    python = as_root.python
    as_root.python = ("setsid", "--ctty", *python)
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    demo = as_root.start(sys.executable, "-c", counting, **streams)
    os.close(terminal)
    seen = b""
    while b"ready" not in seen:
        seen += os.read(ours, 1000)
    os.write(ours, b"\x03")
    while not re.search(rb"interrupts: \d", seen):
        seen += os.read(ours, 1000)
    status = as_root.finish(demo)[0]
    os.close(ours)  # not before: the terminal would hang up on what is still ending
    assert status == 0
    assert b"interrupts: 1" in seen


def test_a_long_name_for_the_temporary_directory_is_no_obstacle(as_root: Stage) -> None:
    as_root.temporary = as_root.temporary / ("long" * 20)
    as_root.temporary.mkdir()
    status, out, _ = as_root.finish(as_root.start("sh", "-c", "ls ${DOCKER_HOST#unix://}"))
    assert status == 0
    assert out.startswith("/tmp/natop-demo-")


def test_stopping_natop_stops_the_demo_for_the_shell(as_root: Stage) -> None:
    demo = as_root.start("sh", "-c", "kill -STOP $$; echo went on", start_new_session=True)
    ends = time.monotonic() + 60
    while Path(f"/proc/{demo.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < ends
        time.sleep(0.02)
    os.killpg(demo.pid, signal.SIGCONT)
    assert as_root.finish(demo)[:2] == (0, "went on\n")


def test_a_forbidding_setting_is_named(as_nobody: Stage) -> None:
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all --inh-caps=-all "$@"'
    *_, python = as_nobody.python
    as_nobody.python = (*NOBODY, "unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh", python)
    status, out, err = as_nobody.finish(as_nobody.start("echo", "never"))
    assert (status, out) == (3, "")
    assert "user.max_user_namespaces is 0" in err
    assert "sudo natop demo" in err
    assert 1 <= len(err.splitlines()) <= 3
