"""`natop demo`: starts the demo's host process and natop inside of it, and passes everything through.

natop is a direct child in the same process group, so that the terminal, Ctrl+C and Ctrl+Z work as if it had been
started by hand. The host process is in a session of its own and outlives a killed starter just long enough to
clear up.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from natop.charset import started_with
from natop.collect.netns import setns
from natop.demo.namespaces import RefusedError, die_with_parent, foreign_namespaces

REFUSED = 3
"""Exit status where the demo cannot be built."""

START_TIMEOUT_S = 20.0
END_TIMEOUT_S = 5.0

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SUN_PATH = 108
SI_USER = 0
"""`si_code` of a signal sent by a process, asm-generic/siginfo.h; the terminal's are positive."""

PACKAGES = Path(__file__).parents[2]
PYTHON = (sys.executable, "-P")
NATOP = (*PYTHON, "-m", "natop")
WITHOUT_FILE = {"XDG_CONFIG_HOME": os.devnull}
"""The user's configuration is about another host: an engine, a namespace, targets that the demo does not have."""
HOST = (*PYTHON, "-m", "natop.demo.host")

Tell = Callable[[str], None]


class SignalledError(Exception):
    """A signal came before natop was started; the argument is its number."""


@dataclass(frozen=True, slots=True)
class Held:
    """The signals this process takes one by one, and the mask that its children get back."""

    signals: frozenset[signal.Signals]
    before: frozenset[int]


def tell_stderr(line: str) -> None:
    """Print one line of diagnosis."""
    print(f"natop demo: {line}", file=sys.stderr, flush=True)


def run(arguments: tuple[str, ...], tell: Tell = tell_stderr, program: tuple[str, ...] = NATOP, scene: str = "") -> int:
    """Build the demo with that scene of `plan.SCENES`, run `program` with these arguments in it; its exit status.

    Without arguments that is the live view, or a snapshot as text where a standard stream is no terminal.
    Must be called from the main thread of a process without other threads.
    """
    command = (*program, *(arguments or _default_arguments(tell)))
    with _signals_held() as held:
        directory = _make_directory()
        try:
            return _run_in(directory, scene, command, held)
        except RefusedError as refusal:
            for line in refusal.args:
                tell(line)
            return REFUSED
        except SignalledError as stop:
            return 128 + int(stop.args[0])
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def _make_directory() -> Path:
    """A private directory for the Engine's socket, whose whole path must fit `sun_path` (linux/un.h: 108 bytes)."""
    roomy = len(os.fsencode(tempfile.gettempdir())) <= SUN_PATH // 2
    return Path(tempfile.mkdtemp(prefix="natop-demo-", dir=None if roomy else "/tmp"))


def _default_arguments(tell: Tell) -> tuple[str, ...]:
    if all(os.isatty(descriptor) for descriptor in (0, 1, 2)):
        return ()
    tell("no terminal for the live view, so this is a snapshot")
    return ("snapshot", "--format", "text")


@contextmanager
def _signals_held() -> Iterator[Held]:
    """Take signals by `sigwaitinfo`, which tells who sent them; those that were ignored stay ignored."""
    heard = {each for each in ENDING if signal.getsignal(each) is not signal.SIG_IGN}
    held = frozenset(heard | {signal.SIGCHLD})
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield Held(held, frozenset(before))
    finally:
        while signal.sigtimedwait(held, 0):
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run_in(directory: Path, scene: str, command: tuple[str, ...], held: Held) -> int:
    """Start the host, natop in it, see natop through, and have the host clear up."""
    host = subprocess.Popen(
        (*HOST, str(directory), scene),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
        start_new_session=True,
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, held.before),
    )
    try:
        url = _await_ready(host, held)
        natop = _start(command, host.pid, url, held)
        _say(host, f"natop {natop.pid}\n")
        return _see_through(natop, held)
    finally:
        _finish(host)


def _environment(**more: str) -> dict[str, str]:
    """Our environment without what would lead natop to another Engine, and with this very natop to import.

    The locale is the user's, not the one that Python put in the place of C.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER_") and key != "LC_CTYPE"}
    kept |= {key: value for key, value in started_with().items() if key == "LC_CTYPE"}
    path = os.pathsep.join(filter(None, (str(PACKAGES), os.environ.get("PYTHONPATH"))))
    return kept | {"PYTHONPATH": path} | more


def _await_ready(host: subprocess.Popen[bytes], held: Held) -> str:
    """The Engine's address, once the demo is built."""
    assert host.stdout is not None
    ends = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < ends:
        if select.select([host.stdout], [], [], 0.05)[0]:
            report = json.loads(host.stdout.readline() or b"{}")
            if "url" in report:
                return str(report["url"])
            raise RefusedError(*report.get("refused", ["the demo's host process ended unexpectedly"]))
        news = signal.sigtimedwait(held.signals, 0)
        if news and news.si_signo in ENDING:
            raise SignalledError(news.si_signo)
    raise RefusedError(f"the demo did not come up within {START_TIMEOUT_S:.0f} s")


def _start(command: tuple[str, ...], host: int, url: str, held: Held) -> subprocess.Popen[bytes]:
    """Start natop in the namespaces of process `host`, with our terminal, stdin and stdout."""
    spaces = foreign_namespaces(host)
    parent = os.getpid()

    def enter() -> None:
        for descriptor, kind in spaces:
            setns(descriptor, kind)
        die_with_parent(parent, signal.SIGHUP)
        signal.pthread_sigmask(signal.SIG_SETMASK, held.before)

    try:
        return subprocess.Popen(command, env=_environment(DOCKER_HOST=url, **WITHOUT_FILE), preexec_fn=enter)
    except (OSError, subprocess.SubprocessError) as error:
        raise RefusedError(f"cannot start natop in the demo's namespaces: {error}") from error
    finally:
        for descriptor, _ in spaces:
            os.close(descriptor)


def _see_through(natop: subprocess.Popen[bytes], held: Held) -> int:
    """Pass signals on until natop ends; its exit status, or 128 plus the signal that killed it.

    A signal of the terminal has reached natop already, so only one that a process sent to us is passed on. Popen's own
    ways to send signals would wait for natop first, and take its status away from here.
    """
    deadline = float("inf")
    while True:
        patience = min(max(deadline - time.monotonic(), 0), 3600)
        news = signal.sigtimedwait(held.signals, patience)
        if news is None and time.monotonic() >= deadline:
            os.kill(natop.pid, signal.SIGKILL)
        elif news and news.si_signo != signal.SIGCHLD:
            if news.si_code <= SI_USER:
                os.kill(natop.pid, news.si_signo)
            if news.si_signo != signal.SIGINT:
                deadline = time.monotonic() + END_TIMEOUT_S
        status = _status(natop)
        if status is not None:
            return status


def _status(natop: subprocess.Popen[bytes]) -> int | None:
    """natop's exit status where it has ended; where it was stopped (Ctrl+Z), we stop with it for the shell."""
    pid, status = os.waitpid(natop.pid, os.WNOHANG | os.WUNTRACED)
    if pid == 0:
        return None
    if os.WIFSTOPPED(status):
        time.sleep(0.03)
        if _is_stopped(natop.pid):
            os.kill(os.getpid(), signal.SIGSTOP)
        return None
    natop.returncode = os.waitstatus_to_exitcode(status)
    return natop.returncode if natop.returncode >= 0 else 128 - natop.returncode


def _is_stopped(pid: int) -> bool:
    """Whether a process is stopped still: the shell may have continued us both in the meantime."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    return False


def _say(host: subprocess.Popen[bytes], line: str) -> None:
    assert host.stdin is not None
    with suppress(OSError):
        host.stdin.write(line.encode())
        host.stdin.flush()


def _finish(host: subprocess.Popen[bytes]) -> None:
    """Have the host process clear up, and wait for it."""
    _say(host, "done\n")
    assert host.stdin is not None
    assert host.stdout is not None
    with suppress(OSError):
        host.stdin.close()
    try:
        host.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        host.kill()
        host.wait()
    host.stdout.close()
