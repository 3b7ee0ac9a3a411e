"""No rule prints a command of a kind that no test has run."""

import shlex
from dataclasses import replace

import pytest

from natop.diagnose import RULES
from natop.diagnose.namespace import found_inside, inside
from natop.model import Finding, Remedy, Severity
from tests.lab import printed
from tests.unit import remedies

CASES = remedies.cases()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_command_is_of_a_kind_that_a_test_runs(case: remedies.Case) -> None:
    remedy = case.remedy()
    for command in remedies.commands(remedy):
        assert remedies.kind_of(command)
    for text in printed.quoted(f"{remedy.text} {remedy.cost or ''}"):
        assert text in remedies.TYPED
    assert not remedy.undo or remedy.commands


def test_each_kind_is_printed() -> None:
    """What no scenario prints no test would run."""
    found = {remedies.kind_of(command) for case in CASES for command in remedies.commands(case.remedy())}
    assert found == set(remedies.NEEDS)
    texts = {text for case in CASES for text in printed.quoted(case.remedy().text)}
    assert texts == set(remedies.TYPED)


FILE = "/run/netns/it's"
INSIDE = "nsenter --net='/run/netns/it'\"'\"'s' "


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_command_is_for_the_namespace_read(case: remedies.Case) -> None:
    """What the kernel has once for the machine, and what the engine does, is the same from everywhere."""
    for command in remedies.commands(case.remedy()):
        told, needs = inside(FILE, command), remedies.NEEDS[remedies.kind_of(command)]
        assert inside(None, command) == command
        if command.startswith("natop "):
            assert shlex.split(told) == [*shlex.split(command), "--netns", FILE]
        elif needs in (remedies.MACHINE, remedies.UNRUN) or command.startswith("docker "):
            assert told == command
        else:
            assert told == INSIDE + command


def test_findings_of_another_namespace_have_its_commands() -> None:
    remedy = Remedy("", ("conntrack -D",), ("sysctl -w net.core.somaxconn=1",), check="conntrack -L shows none")
    found = found_inside(FILE, Finding("", Severity.INFO, "", "", (), (remedy,)))
    assert found.remedies == (
        Remedy(
            "", (f"{INSIDE}conntrack -D",), (f"{INSIDE}{remedy.undo[0]}",), check=f"{INSIDE}conntrack -L shows none"
        ),
    )
    words = replace(remedy, check="the pool falls")
    assert found_inside(FILE, Finding("", Severity.INFO, "", "", (), (words,))).remedies[0].check == words.check


def test_a_new_kind_is_noticed() -> None:
    with pytest.raises(LookupError):
        remedies.kind_of("ip link set docker0 down")


def test_every_rule_that_has_remedies_has_a_case() -> None:
    assert {case.path.parent.name for case in CASES} <= set(RULES)
