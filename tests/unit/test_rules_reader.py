"""Asking the firewall's tools, played by scripts: which are asked, and what becomes of those that misbehave."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from natop.collect import host, netns, proc, rules
from natop.collect.rules import RulesReader
from natop.decode.rules import CHAINS, LISTED, SPELLED, TABLES, decode_rules
from natop.model import EngineReading, FirewallText
from tests.unit.rulesets import save

PATIENCE_S = 60.0
"""For what must happen, on a machine however slow."""
LEGACY, SAVE = "iptables-legacy-save -t nat", "iptables-nft-save -t nat"


class Machine:
    """A machine's tools, modules and legacy tables."""

    def __init__(self, folder: Path) -> None:
        self.tools, self.proc, self.builtin = folder / "bin", folder / "proc", folder / "modules.builtin"
        self.tools.mkdir()
        (self.proc / "thread-self" / "net").mkdir(parents=True)
        (self.proc / "modules").write_text("nf_tables 1 0\nnft_compat 1 0\n")
        self.builtin.write_text("kernel/net/netfilter/x_tables.ko\n")

    def tool(self, name: str, script: str) -> None:
        """Every call is noted beside the tools."""
        path = self.tools / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> "$(dirname "$0")/calls"\n{script}\n')
        path.chmod(0o755)

    def answers(self, name: str, text: str, when: str = "*") -> None:
        (self.tools / f"{name}.out").write_text(text)
        self.tool(name, f'case "$*" in {when}) cat "$0.out";; esac')

    def nft(self, *tables: tuple[str, str, str]) -> None:
        """nft with nat base chains: family, table and name of each."""
        chains = [
            {"chain": {"family": f, "table": t, "name": n, "type": "nat", "hook": "postrouting"}} for f, t, n in tables
        ]
        self.answers("nft", json.dumps({"nftables": chains}), "'-j list chains'")

    @property
    def calls(self) -> list[str]:
        path = self.tools / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setattr(rules, "FOLDERS", (str(made.tools), "/usr/bin", "/bin"))
    monkeypatch.setattr(rules, "which", lambda tool: str(made.tools / tool) if (made.tools / tool).exists() else None)
    monkeypatch.setattr(proc, "PROC", made.proc)
    monkeypatch.setattr(rules, "builtin_list", lambda: made.builtin)
    return made


def test_nothing_is_asked_where_the_kernel_has_no_nf_tables_and_no_legacy_table(machine: Machine) -> None:
    (machine.proc / "modules").write_text("nf_tables_not 1 0\n")
    machine.nft(("ip", "nat", "POSTROUTING"))
    machine.answers("iptables-legacy-save", save())
    (machine.proc / "thread-self" / "net" / "ip_tables_names").write_text("filter\n")
    text = rules.read()
    assert (text.answers, text.refused, text.absent, machine.calls) == ({}, {}, (), [])


def test_each_tool_is_asked_once_for_what_it_may_know(machine: Machine) -> None:
    machine.nft(("ip", "nat", "POSTROUTING"), ("ip", "docker-bridges", "nat-POSTROUTING"), ("bridge", "x", "y"))
    machine.answers("iptables-nft-save", save("POSTROUTING -j MASQUERADE"))
    machine.answers("iptables-legacy-save", save())
    (machine.proc / "thread-self" / "net" / "ip_tables_names").write_text("nat\nfilter\n")
    text = rules.read()
    assert list(text.answers) == [
        *(LEGACY, CHAINS, TABLES, SAVE),
        *(f"{LISTED}ip docker-bridges", f"{SPELLED}ip docker-bridges"),
    ]
    assert machine.calls == [
        "iptables-legacy-save -t nat",
        "nft -j list chains",
        "nft -j list tables",
        "iptables-nft-save -t nat",
        "nft -j list table ip docker-bridges",
        "nft -a -s list table ip docker-bridges",
    ]
    assert text.answers[SAVE] == save("POSTROUTING -j MASQUERADE")
    assert (text.absent, text.refused, text.netns) == ((), {}, netns.identity())


def test_a_table_nat_that_is_not_iptables_own_is_listed(machine: Machine) -> None:
    machine.nft(("ip", "nat", "postrouting"))
    machine.answers("iptables-nft-save", save())
    assert f"{LISTED}ip nat" in rules.read().answers


def test_a_table_s_name_is_no_command(machine: Machine) -> None:
    machine.nft(("ip", "x; flush ruleset", "y"), ("ip", "-f", "y"), ("ip", "", "y"))
    text = rules.read()
    assert machine.calls == ["nft -j list chains", "nft -j list tables"]
    assert len(text.refused) == 3


def test_tools_that_are_not_there(machine: Machine) -> None:
    (machine.proc / "thread-self" / "net" / "ip6_tables_names").write_text("nat\n")
    text = rules.read()
    assert text.absent == ("ip6tables-legacy-save", "nft", "iptables-nft-save", "ip6tables-nft-save")


def test_a_plain_iptables_save_is_that_of_its_backend(machine: Machine) -> None:
    machine.tool("xtables-nft-multi", "")
    machine.tool("xtables-legacy-multi", "")
    for family, program in (("iptables", "xtables-nft-multi"), ("ip6tables", "xtables-legacy-multi")):
        (machine.tools / f"{family}-save").symlink_to(program)
    found = {backend: rules.save_tool(backend) for backend in ("iptables-nft", "iptables-legacy", "ip6tables-legacy")}
    assert found == {
        "iptables-nft": str(machine.tools / "iptables-save"),
        "iptables-legacy": None,
        "ip6tables-legacy": str(machine.tools / "ip6tables-save"),
    }


def test_tools_are_found_though_path_lacks_their_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(rules, "FOLDERS", (str(tmp_path),))
    tool = tmp_path / "nft"
    assert rules.which("nft") is None
    tool.touch(0o755)
    assert rules.which("nft") == str(tool)


def test_whether_a_module_need_not_be_loaded(machine: Machine) -> None:
    assert (rules.has_module("nf_tables"), rules.has_module("x_tables"), rules.has_module("other")) == (
        True,
        True,
        False,
    )
    machine.builtin.unlink()
    assert (rules.has_module("nf_tables"), rules.has_module("other")) == (True, None)
    (machine.proc / "modules").unlink()
    assert rules.has_module("other")


def test_where_asking_might_load_a_module_nothing_is_asked(machine: Machine) -> None:
    (machine.proc / "modules").write_text("")
    machine.builtin.unlink()
    machine.nft()
    text = rules.read()
    assert machine.calls == []
    assert "it might load nf_tables" in text.refused["nft"]


def test_rules_of_iptables_that_only_nft_shows_make_iptables_asked(machine: Machine) -> None:
    (machine.proc / "modules").write_text("nf_tables 1 0\n")
    items: list[object] = [
        {"chain": {"family": "ip", "table": "nat", "name": "POSTROUTING", "type": "nat", "hook": "postrouting"}},
        {"rule": {"family": "ip", "table": "nat", "chain": "POSTROUTING", "expr": [{"xt": None}]}},
    ]
    machine.answers("nft", json.dumps({"nftables": items}))
    machine.answers("iptables-nft-save", save())
    assert machine.calls == []
    assert list(rules.read().answers)[-1] == SAVE


def test_what_a_tool_says_when_it_fails(machine: Machine) -> None:
    machine.tool("nft", "echo 'Operation not permitted (you must be root)' >&2; echo more >&2; exit 1")
    machine.tool("iptables-nft-save", "exit 4")
    (machine.proc / "thread-self" / "net" / "ip_tables_names").mkdir()
    text = rules.read()
    assert text.answers == {}
    assert text.refused == {
        "/proc/net/ip_tables_names": "Is a directory",
        CHAINS: "Operation not permitted (you must be root)",
        TABLES: "Operation not permitted (you must be root)",
        SAVE: "exit status 4",
    }


def test_a_tool_that_hangs_is_waited_for_only_so_long(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "TIMEOUT_S", 0.2)
    machine.tool("nft", "exec sleep 600")  # its end is waited for, so it must be brought about
    text = rules.read()
    assert (text.refused, text.answers) == (dict.fromkeys((CHAINS, TABLES), "no answer in 0.2 s"), {})


def test_a_tool_that_never_ends_and_one_that_closes_its_output(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MAX_BYTES", 1 << 20)
    machine.tool("nft", "exec yes")
    machine.tool("iptables-nft-save", "printf '\\377\\n'; exec >&-; exec sleep 0")
    text = rules.read()
    assert text.refused == dict.fromkeys((CHAINS, TABLES), "an answer of more than 1 MiB")
    assert text.answers == {SAVE: "\ufffd\n"}


def test_a_tool_that_cannot_be_run(machine: Machine) -> None:
    (machine.tools / "nft").write_text("no program")
    (machine.tools / "nft").chmod(0o755)
    assert rules.read().refused[CHAINS] == "Exec format error"


def test_tools_get_no_shell_no_input_and_little_environment(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATOP_SECRET", "x")
    machine.tool("nft", "cat; env | grep -v -e PWD -e SHLVL -e ^_= | sort")
    assert rules.run([str(machine.tools / "nft"), "$(reboot)"]).splitlines() == [
        "LC_ALL=C",
        f"PATH={machine.tools}:/usr/bin:/bin",
    ]
    assert machine.calls == ["nft $(reboot)"]


# On a thread of its own


class Told:
    """In place of `read`: a text that tells how often it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, identity: str | None = None) -> None:
        self.count, self.identity = 0, identity
        self.asked = threading.Semaphore(0)
        monkeypatch.setattr(rules, "read", self)

    def __call__(self) -> FirewallText:
        self.count += 1
        self.asked.release()
        return FirewallText({CHAINS: str(self.count)}, netns=self.identity or netns.identity())


def test_without_following_it_reads_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(monkeypatch)
    reader = RulesReader(None, follow=False)
    assert reader.wait(PATIENCE_S)
    reader.ask()
    reader.close()
    assert (told.count, reader.latest()) == (1, FirewallText({CHAINS: "1"}, netns=netns.identity()))


def test_it_reads_again_when_asked_and_when_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "PAUSE_S", 0.01)
    told = Told(monkeypatch)
    reader = RulesReader(None, follow=True)
    assert told.asked.acquire(timeout=PATIENCE_S)
    assert not told.asked.acquire(timeout=0.3)
    monkeypatch.setattr(rules, "EVERY_S", 0.02)
    reader.ask()
    assert all(told.asked.acquire(timeout=PATIENCE_S) for _ in range(3))
    reader.close()
    assert not reader._thread.is_alive()


def test_a_namespace_that_is_gone_leaves_what_was_known(tmp_path: Path) -> None:
    reader = RulesReader(tmp_path / "none", follow=False)
    assert reader.wait(PATIENCE_S)
    assert reader.latest() is None


def test_a_defect_in_reading_is_told_and_the_next_reading_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read before is not shown as if it were of now."""
    monkeypatch.setattr(rules, "PAUSE_S", 0.01)
    told = Told(monkeypatch)
    reading = host.HostReader((), None, None, rules=RulesReader(None, follow=True))
    assert told.asked.acquire(timeout=PATIENCE_S)

    def fail() -> FirewallText:
        told()
        raise ZeroDivisionError("by zero\x1b[m")

    def next_sample() -> FirewallText:
        deadline = time.monotonic() + PATIENCE_S
        while (found := reading.sample(dump=False).rules) is None:
            assert time.monotonic() < deadline
        return found

    assert next_sample().answers == {CHAINS: "1"}
    monkeypatch.setattr(rules, "read", fail)
    reading._rules.ask()  # type: ignore[union-attr]  # it has one
    ruleset, gaps = decode_rules(next_sample())
    assert (ruleset, [gap.reason for gap in gaps]) == (
        None,
        ["NAT rules: a defect of natop: ZeroDivisionError: by zero\ufffd[m"],
    )
    monkeypatch.setattr(rules, "read", told)
    reading._rules.ask()  # type: ignore[union-attr]  # it has one
    assert next_sample().answers == {CHAINS: "3"}
    reading.close()


def engine(*names: str) -> EngineReading:
    return EngineReading({}, {}, (), tuple({"Name": name} for name in names))


def test_a_sample_tells_each_reading_once(monkeypatch: pytest.MonkeyPatch) -> None:
    Told(monkeypatch)
    reading = host.HostReader((), None, None, rules=RulesReader(None, follow=False))
    reading.wait_for_answers(PATIENCE_S)
    assert [reading.sample(dump=False).rules is not None for _ in range(3)] == [True, False, False]
    reading.close()


def test_changed_networks_have_the_rules_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "PAUSE_S", 0.01)
    told = Told(monkeypatch)
    reader = RulesReader(None, follow=True)
    reading = host.HostReader((), None, None, rules=reader)
    assert told.asked.acquire(timeout=PATIENCE_S)
    for names, expected in ((("a",), True), (("a",), False), (("a", "b"), True)):
        reading._new_rules(engine(*names), [])
        assert told.asked.acquire(timeout=PATIENCE_S if expected else 0.3) == expected
    reading.close()


def test_rules_of_another_namespace_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    Told(monkeypatch, "net:[1]")
    reading = host.HostReader((), None, None, rules=RulesReader(None, follow=False))
    reading.wait_for_answers(PATIENCE_S)
    assert reading.sample(dump=False).rules is None
    reading.close()


def test_tools_that_take_long_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    let = threading.Event()
    monkeypatch.setattr(rules, "LATE_S", 0.0)
    monkeypatch.setattr(rules, "read", lambda: let.wait(PATIENCE_S) and FirewallText({}, netns=netns.identity()))
    reading = host.HostReader((), None, None, rules=RulesReader(None, follow=False))
    missed = reading.sample(dump=False)
    let.set()
    reading.wait_for_answers(PATIENCE_S)
    taken = reading.sample(dump=False)
    assert [gap.reason for gap in missed.gaps if gap.source == "rules"] == [
        "the firewall's tools have not answered yet"
    ]
    assert ([gap for gap in taken.gaps if gap.source == "rules"], taken.rules is not None) == ([], True)
    reading.close()


DESCRIPTORS = """
import os
from natop.collect import rules
before = os.listdir("/proc/self/fd")
rules.read()
assert os.listdir("/proc/self/fd") == before
"""


def test_this_machine_s_own_tools_leave_no_descriptor_open() -> None:
    subprocess.run([sys.executable, "-c", DESCRIPTORS], check=True, timeout=PATIENCE_S)
