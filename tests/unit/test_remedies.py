"""No rule prints a command of a kind that no test has run."""

import pytest

from natop.diagnose import RULES
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


def test_a_new_kind_is_noticed() -> None:
    with pytest.raises(LookupError):
        remedies.kind_of("ip link set docker0 down")


def test_every_rule_that_has_remedies_has_a_case() -> None:
    assert {case.path.parent.name for case in CASES} <= set(RULES)
