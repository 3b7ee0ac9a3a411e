"""The NAT rules as the firewall's own tools tell them, and nothing is changed by asking.

- `iptables-legacy-save -t nat` makes the table in a namespace that has none, and loads its module (net/ipv4/netfilter/
  iptable_nat.c): it is asked only where /proc/net/ip_tables_names has the table.
- A message to nf_tables or nft_compat loads that module (net/netfilter/nfnetlink.c, nfnetlink_rcv_msg): nft and
  iptables-nft-save are asked only where the kernel has it. Where it has not, there are no rules for them to tell.
- Listing by either makes no table and no chain. A table's name becomes part of nft's language: only plain names do.
"""

import os
import platform
import re
import selectors
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from natop import defects
from natop.collect import netns, proc
from natop.decode import nft
from natop.decode.iptables import BUILT_IN, TABLE
from natop.decode.routes import ROUTES4, ROUTES6
from natop.decode.rules import CHAINS, LISTED, SAVES, SPELLED, TABLES, is_told, save_command
from natop.model import FirewallText

EVERY_S = 30.0
"""How often the rules are read where nothing tells of a change; all these are seconds."""
PAUSE_S = 1.0
"""The shortest time between two readings."""
REST = 100.0
"""A reading is followed by so many times its own time of rest, at least."""
PATIENCE_S = 0.5
LATE_S = 1.0
"""A first reading that takes longer is missed."""
TIMEOUT_S = 10.0
"""The longest that one command may take."""
MAX_BYTES = 16 << 20
"""The longest answer of one command."""
MOST_TABLES = 32

FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin")
"""Where the tools are looked for before PATH, which may lack the folders for administrators."""
_NAMES = {"iptables-legacy": "net/ip_tables_names", "ip6tables-legacy": "net/ip6_tables_names"}
_PLAIN = re.compile(r"[A-Za-z_.][A-Za-z0-9/_.-]{0,127}")


class RulesReader:
    """Reads the rules of one namespace on a thread of its own, so that slow tools delay nobody."""

    def __init__(self, namespace: Path | None, *, follow: bool) -> None:
        """`namespace` None is the caller's own. With `follow` they are read again and again until `close`."""
        self._namespace, self._follow = namespace, follow
        self._latest: FirewallText | None = None
        self._answered, self._wanted, self._closed = threading.Event(), threading.Event(), threading.Event()
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="natop-rules", daemon=True)
        self._thread.start()

    def latest(self) -> FirewallText | None:
        """The last reading; None before the first has ended."""
        return self._latest

    @property
    def is_late(self) -> bool:
        """Whether the first reading should have ended long since and has not."""
        return not self._answered.is_set() and time.monotonic() - self._started > LATE_S

    def wait(self, timeout_s: float) -> bool:
        """Wait for the first reading's end."""
        return self._answered.wait(timeout_s)

    def ask(self) -> None:
        """Read anew soon, without waiting until it is due."""
        self._wanted.set()

    def close(self) -> None:
        """End the thread; one that waits for a slow tool is not waited for longer than PATIENCE_S."""
        self._closed.set()
        self._wanted.set()
        self._thread.join(PATIENCE_S)

    def _run(self) -> None:
        while not self._closed.is_set():
            started = time.monotonic()
            with suppress(netns.NoSuchNetns):
                self._latest = self._read()
            self._answered.set()
            if not self._follow:
                return
            self._closed.wait(PAUSE_S)
            self._wanted.wait(max(EVERY_S, REST * (time.monotonic() - started - PAUSE_S)))
            self._wanted.clear()

    def _read(self) -> FirewallText:
        """The rules, or why they are not known: an older reading would pass for one of now. Raises NoSuchNetns."""
        try:
            with netns.entered(self._namespace):
                return read()
        except netns.NoSuchNetns:
            raise
        except Exception as error:  # the thread's edge: it lives on, and the next reading may succeed
            refused = {"NAT rules": defects.told(error)}
            return FirewallText({}, refused=refused, netns=netns.identity(self._namespace))


def read() -> FirewallText:
    """The rules of the calling thread's namespace."""
    return _Reading().all()


class _Refused(Exception):
    """A command gave no answer. The message says why."""


class _Reading:
    """One reading while it is made."""

    def __init__(self) -> None:
        self._answers: dict[str, str] = {}
        self._refused: dict[str, str] = {}
        self._absent: list[str] = []

    def all(self) -> FirewallText:
        for backend, file in _NAMES.items():
            if self._has_legacy_table(file):
                self._save(backend)
        if self._may_ask_nf_tables():
            tool = which("nft")
            self._list_chains(tool)
            may_be_iptables = has_module("nft_compat")
            if may_be_iptables:
                self._save_nft()
            self._list_tables(tool)
            if not may_be_iptables and any(map(nft.has_iptables_rules, self._answers.values())):
                self._save_nft()
        routes = proc.read((ROUTES4, ROUTES6))
        return FirewallText(self._answers, tuple(self._absent), self._refused, routes, netns.identity())

    def _has_legacy_table(self, file: str) -> bool:
        try:
            return TABLE in (proc.PROC / "thread-self" / file).read_text().split()
        except FileNotFoundError:
            return False
        except OSError as error:
            self._refused[f"/proc/{file}"] = error.strerror or str(error)
            return False

    def _may_ask_nf_tables(self) -> bool:
        known = has_module("nf_tables")
        if known is None:
            reason = f"not asked, as it might load nf_tables: {builtin_list()} cannot be read"
            self._refused["nft"] = reason
        return bool(known)

    def _save_nft(self) -> None:
        """Ask iptables-nft-save for the families whose table nat nft lists, or all where nft cannot tell."""
        listed = {each.get("family") for each in self._listed_chains() if each.get("table") == TABLE}
        for backend, (_, family) in SAVES.items():
            if family in listed or (family and CHAINS not in self._answers):
                self._save(backend)

    def _save(self, backend: str) -> None:
        tool = save_tool(backend)
        if tool is None:
            self._absent.append(f"{backend}-save")
        else:
            self._ask(save_command(backend), [tool, "-t", TABLE])

    def _list_chains(self, tool: str | None) -> None:
        if tool is None:
            self._absent.append("nft")
            return
        for command in (CHAINS, TABLES):
            self._ask(command, [tool, *command.split()[1:]])

    def _listed_chains(self) -> Iterator[Mapping[str, object]]:
        return nft.objects(self._answers.get(CHAINS, ""), "chain")

    def _list_tables(self, tool: str | None) -> None:
        for family, table in list(self._nat_tables())[:MOST_TABLES] if tool else ():
            for command in (LISTED, SPELLED):
                self._ask(f"{command}{family} {table}", [str(tool), *command.split()[1:], family, table])

    def _nat_tables(self) -> Iterator[tuple[str, str]]:
        """The tables with a chain where source NAT or Docker's DNAT is set up, but those that iptables-save told."""
        told = {word for backend, (_, word) in SAVES.items() if is_told(self._answers.get(save_command(backend), ""))}
        bases: dict[tuple[str, str], set[str]] = {}
        for chain in self._listed_chains():
            if chain.get("type") == "nat" and chain.get("hook") in ("postrouting", "output"):
                bases.setdefault((str(chain.get("family")), str(chain.get("table"))), set()).add(str(chain.get("name")))
        for (family, table), names in bases.items():
            if table == TABLE and family in told and names <= BUILT_IN:
                continue
            if _PLAIN.fullmatch(table):
                yield family, table
            else:
                self._refused[f"nft list table {family} {table}"] = "not asked, its name being no plain word"

    def _ask(self, command: str, argv: Sequence[str]) -> None:
        try:
            self._answers[command] = run(argv)
        except _Refused as refusal:
            self._refused[command] = str(refusal)


def has_module(name: str) -> bool | None:
    """Whether the kernel has this module, loaded or built in, so that nothing need be loaded; None where unknown."""
    try:
        if re.search(rf"^{name} ", (proc.PROC / "modules").read_text(), re.MULTILINE):
            return True
    except FileNotFoundError:
        return True  # a kernel that cannot load modules
    except OSError:
        return None
    try:
        return f"/{name}.ko" in builtin_list().read_text()
    except OSError:
        return None


def builtin_list() -> Path:
    """Where the running kernel's built-in modules are listed (kbuild's modules.builtin)."""
    return Path("/lib/modules", platform.release(), "modules.builtin")


def which(tool: str) -> str | None:
    """The path of a tool, looked for in FOLDERS and then in PATH."""
    return shutil.which(tool, path=os.pathsep.join((*FOLDERS, os.environ.get("PATH", ""))))


def save_tool(backend: str) -> str | None:
    """What prints a backend's rules: by its own name, or as the plain iptables-save of a system that has but one."""
    plain = which(f"{backend.partition('-')[0]}-save")
    if plain and ("nft" in os.path.basename(os.path.realpath(plain))) != backend.endswith("-nft"):
        plain = None
    return which(f"{backend}-save") or plain


def run(argv: Sequence[str]) -> str:
    """What a command prints; it gets no shell, no input and little environment. Raises _Refused."""
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"LC_ALL": "C", "PATH": os.pathsep.join(FOLDERS)},
        )
    except OSError as error:
        raise _Refused(error.strerror or str(error)) from error
    with process:
        try:
            answer, complaint = _drained(process, time.monotonic() + TIMEOUT_S)
        except _Refused:
            process.kill()
            raise
    if process.returncode:
        raise _Refused(next(iter(complaint.split("\n")), "") or f"exit status {process.returncode}")
    return answer


def _drained(process: "subprocess.Popen[bytes]", until: float) -> tuple[str, str]:
    """Standard output and standard error to their ends, within time and length."""
    streams = [stream for stream in (process.stdout, process.stderr) if stream]
    found = {stream.fileno(): bytearray() for stream in streams}
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, until - time.monotonic()))
            if not ready:
                raise _Refused(f"no answer in {TIMEOUT_S:g} s")
            for key, _ in ready:
                piece = os.read(key.fd, 1 << 16)
                if not piece:
                    selector.unregister(key.fileobj)
                found[key.fd] += piece
                if len(found[key.fd]) > MAX_BYTES:
                    raise _Refused(f"an answer of more than {MAX_BYTES >> 20} MiB")
    answer, complaint = (bytes(each).decode("utf-8", "replace") for each in found.values())
    return answer, complaint
