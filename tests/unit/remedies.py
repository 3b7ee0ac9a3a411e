"""Every command that the scenarios' findings print, by what it does and by what a test needs to run it.

A command of a new kind must be given a place here, and with it a test that runs it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from natop.diagnose import diagnose
from natop.model import Remedy
from tests.unit.scenarios import FOLDER, read, snapshot

Scenario = dict[str, Any]
Fit = Callable[[Scenario], Scenario]
NAMESPACE, MACHINE, ENGINE, UNRUN = "a namespace", "the machine", "an engine", "nowhere"
NEEDS = {
    "conntrack -D": NAMESPACE,
    "conntrack -L": NAMESPACE,
    "docker network": ENGINE,
    "iptables -D DOCKER-USER": ENGINE,
    "iptables -C DOCKER-USER": ENGINE,
    "iptables -t nat -D POSTROUTING": NAMESPACE,
    "iptables -t nat -C POSTROUTING": NAMESPACE,
    "iptables -t nat -nvL POSTROUTING": NAMESPACE,
    "ip6tables -t nat -C POSTROUTING": NAMESPACE,
    "ip6tables -t nat -D POSTROUTING": NAMESPACE,
    "ip6tables -t nat -nvL POSTROUTING": NAMESPACE,
    "ip6tables-save -c": NAMESPACE,
    "iptables-save -c": NAMESPACE,
    "modprobe -r br_netfilter": UNRUN,
    "modprobe br_netfilter": UNRUN,  # the kernel's modules are the machine's, and not every machine has them as files
    "natop probe": ENGINE,
    "nft -f": NAMESPACE,
    "nft delete table": NAMESPACE,
    "nft delete table ip natop_egress2": ENGINE,
    "nft list ruleset": NAMESPACE,
    "nft list table": NAMESPACE,
    "nft table inet natop_invalid": NAMESPACE,
    "nft table ip natop_egress2": ENGINE,
    "nsenter --net=": ENGINE,
    "ss -ltnp": NAMESPACE,
    "sysctl -w net.bridge.bridge-nf-call-iptables": ENGINE,
    "sysctl -w net.core.somaxconn": NAMESPACE,
    "sysctl -w net.ipv4.ip_local_port_range": NAMESPACE,
    "sysctl -w net.ipv4.tcp_max_tw_buckets": NAMESPACE,
    "sysctl -w net.ipv4.tcp_tw_reuse": NAMESPACE,
    "sysctl -w net.netfilter.nf_conntrack_buckets": MACHINE,
    "sysctl -w net.netfilter.nf_conntrack_log_invalid": NAMESPACE,
    "sysctl -w net.netfilter.nf_conntrack_max": MACHINE,
    "sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal": NAMESPACE,
    "sysctl -w net.netfilter.nf_conntrack_tcp_timeout_established": NAMESPACE,
    "sysctl -w net.netfilter.nf_conntrack_tcp_timeout_time_wait": NAMESPACE,
}
"""The first words of each kind of command, and where it can be run and judged."""
TYPED = {
    "dmesg": "the shell, while the kernel logs",
    "ethtool -S": "the shell, before an interface's name",
    "ip address add ADDRESS/PREFIX dev INTERFACE": "the shell, with an address that is routed to this host",
    "ip address add ADDRESS/PREFIX dev eth0": "the same, where natop knows the interface",
    "ip address del": "the shell, with the words of the line above",
    "keepalive 32;": "nginx.conf",
    "kept_open": "nginx.conf, after proxy_pass http://",
    "natop probe --from CONTAINER HOST:PORT": "the shell, where natop does not know what is called",
    "networks:": "compose.yaml",
    "ports:": "compose.yaml",
    "proxy_pass": "nginx.conf",
    "proxy_http_version 1.1;": "nginx.conf",
    'proxy_set_header Connection "";': "nginx.conf",
    "return": "the table of nft",
    "sysctl -n": "the shell, before a parameter's name",
    "systemctl disable natop-random": "the shell",
    "systemctl enable natop-random": "the shell",
}
"""What texts tell people to write, and where."""


@dataclass(frozen=True)
class Case:
    """One remedy of one finding of a scenario that fires."""

    path: Path
    place: tuple[int, int]
    """Which finding of the scenario's rule, and which of its remedies."""

    def __str__(self) -> str:
        return f"{self.path.parent.name}/{self.path.stem}-{self.place[0]}.{self.place[1]}"

    def remedy(self, fit: Fit = lambda scenario: scenario) -> Remedy:
        """What the rule prints of the scenario fitted to a lab."""
        findings = [each for each in diagnose(snapshot(fit(scenario(self.path)))) if each.rule == self.path.parent.name]
        return findings[self.place[0]].remedies[self.place[1]]

    @property
    def needs(self) -> set[str]:
        """Where its commands can be run."""
        return {NEEDS[kind_of(command)] for command in commands(self.remedy())}


def scenario(path: Path) -> Scenario:
    return dict(read(path))


def cases(needs: str = "", of: str = "") -> list[Case]:
    """The remedies that need such a place, of a rule where one is named; of all rules, with commands or not, else."""
    found = list(_cases(of))
    return [case for case in found if needs in case.needs] if needs else found


def _cases(of: str) -> Iterator[Case]:
    for path in sorted(FOLDER.glob(f"{of or '*'}/fires*.toml")):
        mine = [each for each in diagnose(snapshot(scenario(path))) if each.rule == path.parent.name]
        for number, finding in enumerate(mine):
            yield from (Case(path, (number, place)) for place in range(len(finding.remedies)))


def texts(remedy: Remedy) -> str:
    """All that a remedy says in words."""
    return " ".join(filter(None, (remedy.text, remedy.cost, remedy.check, remedy.undo_text)))


def renamed(names: Callable[[str], str]) -> Fit:
    """A scenario whose strings are other ones."""

    def fit(scenario: Scenario) -> Scenario:
        def other(value: Any) -> Any:
            if isinstance(value, dict):
                return {names(key): other(each) for key, each in value.items()}
            if isinstance(value, list):
                return [other(each) for each in value]
            return names(value) if isinstance(value, str) else value

        return {key: other(value) for key, value in scenario.items()}

    return fit


def commands(remedy: Remedy) -> list[str]:
    """All that a remedy prints for the shell: to do, to undo and to check."""
    return [*remedy.commands, *remedy.undo, *filter(None, [checking(remedy)])]


def checking(remedy: Remedy) -> str:
    """The command that the check begins with; empty where it has none."""
    found = re.match(
        r"((?:nft list|conntrack -L|ip6?tables -t nat -nvL|sysctl -n)\b.*?)(?:: | shows | stands |$)",
        remedy.check or "",
    )
    return found[1] if found else ""


def kind_of(command: str) -> str:
    """The entry of NEEDS that a command is of. Raises LookupError for a new kind, which needs a test."""
    line = " ".join(shlex.split(command.partition("<<")[0]))
    found = [kind for kind in NEEDS if re.match(rf"{re.escape(kind)}(?:\b|(?<==))", line)]
    if not found:
        raise LookupError(f"no test runs commands like this: {command}")
    return max(found, key=len)
