"""Printed commands, made to act on the network namespace that natop read where that is not the caller's own."""

import shlex
from dataclasses import replace

from natop.model import Finding

OF_THE_MACHINE = (
    *("docker ", "modprobe ", "nsenter "),
    *("sysctl -w net.netfilter.nf_conntrack_max=", "sysctl -w net.netfilter.nf_conntrack_buckets="),
)
"""The same from everywhere, or, by the kernel, to be had in the first namespace alone (nf_conntrack_standalone.c)."""


def inside(entered: str | None, command: str) -> str:
    """The command for the namespace with that file; None is the caller's own."""
    if entered is None or command.startswith(OF_THE_MACHINE):
        return command
    file = shlex.quote(entered)
    if command.startswith("natop "):
        return f"{command} --netns {file}"
    return f"nsenter --net={file} {command}"


def _checked_inside(entered: str, check: str | None) -> str | None:
    """A check that begins with a command has that for the namespace too; most are words."""
    return inside(entered, check) if check and check.startswith(("conntrack ", "nft ")) else check


def found_inside(entered: str | None, finding: Finding) -> Finding:
    """The finding with all commands of its remedies for that namespace."""
    if entered is None:
        return finding
    remedies = (
        replace(
            each,
            commands=tuple(inside(entered, command) for command in each.commands),
            undo=tuple(inside(entered, command) for command in each.undo),
            check=_checked_inside(entered, each.check),
        )
        for each in finding.remedies
    )
    return replace(finding, remedies=tuple(remedies))
