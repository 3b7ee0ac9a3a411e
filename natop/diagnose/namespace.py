"""Printed commands, made to act on what natop read where that is not the caller's own: network namespace or engine."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace

from natop.model import Finding

OF_THE_MACHINE = (
    *("docker ", "modprobe ", "nsenter "),
    *("sysctl -w net.netfilter.nf_conntrack_max=", "sysctl -w net.netfilter.nf_conntrack_buckets="),
)
"""The same from everywhere, or, by the kernel, to be had in the first namespace alone (nf_conntrack_standalone.c)."""


OR = " || "
"""Between two commands of which the second is run where the first fails."""


def inside(entered: str | None, command: str) -> str:
    """The command for the namespace with that file; None is the caller's own."""
    if entered is None or command.startswith(OF_THE_MACHINE):
        return command
    file = shlex.quote(entered)
    if command.startswith("natop "):
        return f"{command} --netns {file}"
    return OR.join(f"nsenter --net={file} {each}" for each in command.split(OR))


def _checked_inside(entered: str, check: str | None) -> str | None:
    """A check that begins with a command has that for the namespace too; most are words."""
    return (
        inside(entered, check)
        if check and check.startswith(("conntrack ", "iptables ", "ip6tables ", "nft "))
        else check
    )


def found_inside(entered: str | None, finding: Finding) -> Finding:
    """The finding with all commands of its remedies for that namespace."""
    if entered is None:
        return finding
    return _changed(finding, lambda command: inside(entered, command), lambda check: _checked_inside(entered, check))


def spoken(options: Sequence[str], command: str) -> str:
    """The command for the engine that `docker` speaks to by these options."""
    if command.startswith("docker "):
        return f"docker {shlex.join(options)}{command.removeprefix('docker')}"
    if command.startswith("natop "):
        return f"{command} {shlex.join([NATOPS.get(option, option) for option in options])}"
    return command


NATOPS = {"--host": "--docker-host"}
"""What natop calls Docker's options where it calls them otherwise."""


def found_by(options: Sequence[str], finding: Finding) -> Finding:
    """The finding with all commands of its remedies for that engine."""
    return _changed(finding, lambda command: spoken(options, command)) if options else finding


def _changed(
    finding: Finding, change: Callable[[str], str], checked: Callable[[str | None], str | None] = lambda check: check
) -> Finding:
    remedies = (
        replace(
            each,
            commands=tuple(map(change, each.commands)),
            undo=tuple(map(change, each.undo)),
            check=checked(each.check),
        )
        for each in finding.remedies
    )
    return replace(finding, remedies=tuple(remedies))
