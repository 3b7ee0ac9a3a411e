"""No rule prints a command of a kind that no test has run."""

import json
import re
import shlex
import subprocess
from dataclasses import replace

import pytest
import yaml

from natop.diagnose import RULES, diagnose
from natop.diagnose.compose import OPTIONS
from natop.diagnose.namespace import OR, found_inside, inside
from natop.diagnose.remedies import ONLY_LOOKS
from natop.model import Finding, Remedy, Severity, Snippet
from tests.lab import printed
from tests.unit import remedies
from tests.unit.hosts import container
from tests.unit.scenarios import snapshot

CASES = remedies.cases()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_command_is_of_a_kind_that_a_test_runs(case: remedies.Case) -> None:
    remedy = case.remedy()
    for command in remedies.commands(remedy):
        assert remedies.kind_of(command)
    for text in printed.quoted(remedies.texts(remedy)):
        assert text in remedies.TYPED
    assert not remedy.undo or remedy.commands


def test_each_kind_is_printed() -> None:
    """What no scenario prints no test would run."""
    found = {remedies.kind_of(command) for case in CASES for command in remedies.commands(case.remedy())}
    assert found == set(remedies.NEEDS)
    texts = {text for case in CASES for text in printed.quoted(remedies.texts(case.remedy()))}
    assert texts == set(remedies.TYPED)


IN_WORDS = {
    "Keep connections open": "what an application does with its connections, no command changes",
    "Send more from each socket": "the same",
    "Give slow more workers": "the same",
    "Let shop call": "the address that an application calls is in its own configuration",
    "Let shop call itself": "the same",
    "A rule of NAT, or a source port below 1024": "whose rule it is, natop does not know",
    "Run a kernel of 5.0 or later": "how a kernel is got is each distribution's own",
    "Not yet: ": "a command that cannot be run as it is is none",
}
"""Remedies without commands and without lines to write, by what they say, and why they are so."""


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_remedy_is_whole(case: remedies.Case) -> None:
    """What to do, what it costs, how to see that it worked, and the way back; what only looks has none."""
    remedy = case.remedy()
    assert remedy.cost
    assert remedy.check
    if remedy.cost == ONLY_LOOKS:
        assert (remedy.undo, remedy.undo_text, remedy.snippets) == ((), None, ())
    else:
        assert remedy.undo or remedy.undo_text
        assert remedy.commands or remedy.snippets or any(words in remedy.text for words in IN_WORDS)


def test_what_is_for_a_minute_is_in_no_file_that_is_read_at_boot() -> None:
    passing = [case.remedy() for case in CASES if "for a minute" in case.remedy().text]
    assert passing
    assert not any(remedy.snippets or "/etc/" in (remedy.undo_text or "") for remedy in passing)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_command_waits_for_a_word_to_be_put_in(case: remedies.Case) -> None:
    for command in remedies.commands(case.remedy()):
        assert not re.search(r"\b(ADDRESS|CONTAINER|HOST|INTERFACE|NAME|PORT|PREFIX)\b", command), command


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_block_can_be_read_by_what_it_is_for(case: remedies.Case) -> None:
    remedy = case.remedy()
    for snippet in remedy.snippets:
        _read(snippet, remedy)
    for command in remedies.commands(remedy):
        done = subprocess.run(["sh", "-n"], input=command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def _read(snippet: Snippet, remedy: Remedy) -> None:
    place = snippet.place
    if place.startswith("compose."):
        assert set(yaml.safe_load(snippet.text)) <= {"services", "networks"}
    elif place.startswith(OPTIONS):
        assert all(word.startswith("--") or "=" in word or word.isidentifier() for word in _options(snippet.text))
    elif place == "/etc/sysctl.d/zz-natop.conf":
        told = [f"sysctl -w {shlex.quote(line.replace(' = ', '=', 1))}" for line in snippet.text.splitlines()]
        assert tuple(told) == remedy.commands
    elif place == "/etc/docker/daemon.json":
        assert json.loads(snippet.text) == {"userland-proxy": False}
    elif place == "/etc/natop-random.nft":
        tables = [command.partition("\n")[2].removesuffix("\nEND") for command in remedy.commands]
        assert all(table in snippet.text for table in tables)
    else:
        assert place in WRITTEN


def _options(text: str) -> list[str]:
    return [word.replace("-", "_") if not word.startswith("--") else word for word in shlex.split(text)]


WRITTEN = {"/etc/modules-load.d/natop.conf", "/etc/systemd/system/natop-random.service", "nginx.conf, within http"}
"""Places whose lines are the same for every host, or nearly so."""

HOSTILE = 'it\'s; $(reboot) `x` "q" #&|>* \\ ü'
"""A name that an engine might tell, as it is once line ends have been taken out of it."""


@pytest.mark.parametrize("case", CASES, ids=str)
def test_names_cannot_break_out(case: remedies.Case) -> None:
    """Whatever containers, projects and networks are called, the shell and YAML read the same words."""
    told = remedies.scenario(case.path)
    keys = {each[key] for each in told.get("container", ()) for key in ("name", "project", "service") if key in each}
    keys |= {each["name"] for each in told.get("network", ())}
    names = {key: f"{key}{HOSTILE}" for key in keys}
    names |= {f"{key}_default": f"{name}_default" for key, name in names.items()}
    plain, hostile = case.remedy(), case.remedy(remedies.renamed(lambda text: names.get(text, text)))
    ids = {key: container(name).id[:12] for key, name in names.items()}
    assert len(hostile.commands) == len(plain.commands)
    for command, other in zip(remedies.commands(plain), remedies.commands(hostile), strict=True):
        pairs = zip(shlex.split(command), shlex.split(other), strict=True)
        assert all(word == now or now in (names.get(word), ids.get(word)) for word, now in pairs), other
    for snippet, other_snippet in zip(plain.snippets, hostile.snippets, strict=True):
        if snippet.place.startswith("compose."):
            lines = yaml.safe_load(snippet.text)
            now = yaml.safe_load(other_snippet.text)
            assert now == remedies.renamed(lambda text: names.get(text, text))(lines)
        else:
            assert snippet.text == other_snippet.text


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
        elif needs in (remedies.MACHINE, remedies.UNRUN) or command.startswith(("docker ", "nsenter ")):
            assert told == command
        else:
            assert told == INSIDE + command.replace(OR, OR + INSIDE)


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


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_command_is_for_the_engine_read(case: remedies.Case) -> None:
    """An engine that was named to natop is named to `docker`, and to natop itself."""
    told = snapshot(remedies.scenario(case.path))
    assert told.inventory
    other = replace(told.inventory.engine, options=("--host", "unix:///run/it's.sock"))
    elsewhere = replace(told, inventory=replace(told.inventory, engine=other))
    findings = [each for each in diagnose(elsewhere) if each.rule == case.path.parent.name]
    remedy = findings[case.place[0]].remedies[case.place[1]]
    for command, now in zip(remedies.commands(case.remedy()), remedies.commands(remedy), strict=True):
        first, *words = shlex.split(command.partition("<<")[0])
        if first == "docker":
            assert shlex.split(now) == [first, *other.options, *words]
        elif first == "natop":
            assert shlex.split(now) == [first, *words, "--docker-host", other.options[1]]
        else:
            assert now == command


FILES = ("/etc/sysctl.d/", "/etc/modules-load.d/", "/etc/systemd/", "/etc/natop-random.nft")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_boot_sets_nothing_in_another_namespace(case: remedies.Case) -> None:
    """Files that are read at boot are of the machine, and of the first network namespace."""
    told = snapshot(remedies.scenario(case.path))
    elsewhere = replace(told, host=replace(told.host, entered=FILE))
    findings = [each for each in diagnose(elsewhere) if each.rule == case.path.parent.name]
    remedy = findings[case.place[0]].remedies[case.place[1]]
    if any(each.place.startswith(FILES) for each in remedy.snippets):
        assert {remedies.NEEDS[remedies.kind_of(command)] for command in remedy.commands} <= {
            remedies.MACHINE,
            remedies.UNRUN,
        }
    elif any(each.place.startswith(FILES) for each in case.remedy().snippets):
        assert "sysctl" not in remedy.commands[0] or "lasts as long as the network namespace" in remedy.text


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_way_back_is_something_to_do(case: remedies.Case) -> None:
    """How long a remedy lasts stands in its text."""
    assert not re.match(r"(it is|they are) gone", case.remedy().undo_text or "")


@pytest.mark.parametrize("story", ["fires", "fires-module"])
def test_what_passes_iptables_then_is_every_bridge_s(story: str) -> None:
    """A host with virtual machines loses them the network where it forwards nothing by default."""
    cases = [case for case in remedies.cases(of="blind-spots") if case.path.stem == story]
    assert all(words in (cases[0].remedy().cost or "") for words in ("every other bridge", "libvirt", "FORWARD"))


def test_a_new_kind_is_noticed() -> None:
    with pytest.raises(LookupError):
        remedies.kind_of("ip link set docker0 down")


def test_every_rule_that_has_remedies_has_a_case() -> None:
    assert {case.path.parent.name for case in CASES} <= set(RULES)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_pasted_twice_is_there_once(case: remedies.Case) -> None:
    """A rule is added only where it is not there, and a table is made in the place of the one before."""
    for command in case.remedy().commands:
        for tool, where, which in re.findall(r"(\w+(?: -t nat)?) -[AI] (\w+)(?: \d+)? (.*)", command):
            assert f"{tool} -C {where} {which} 2>/dev/null{OR}" in command
        for name in re.findall(r"table (\w+ \w+) \{", command):
            first, _, rest = re.split(r"['\n]", command, maxsplit=1)[1].partition(f"table {name} {{")
            assert re.split(r"; |\n", first)[-3:-1] == [f"table {name}", f"delete table {name}"], command
            assert f"table {name} {{" not in rest
