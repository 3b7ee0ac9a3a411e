"""The verdict in words: one line, and findings as text, Markdown and JSON."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from natop.diagnose import RULES, diagnose, verdict
from natop.export import report
from natop.model import Gap, Remedy, Severity, Snapshot
from tests.unit.remedies import renamed
from tests.unit.scenarios import FOLDER, read, snapshot


def judged(name: str) -> Snapshot:
    taken = snapshot(read(FOLDER / f"{name}.toml"))
    return replace(taken, findings=diagnose(taken))


RACE = "snat-race/fires"


def test_the_verdict_is_the_gravest_finding() -> None:
    taken = judged(RACE)
    said = verdict(taken.findings, taken)
    assert said.severity is Severity.CRITICAL
    assert said.text == "race for a NAT source port: 41 new connections lost a SYN in 60 s"


def test_the_verdict_says_what_it_did_not_see() -> None:
    taken = judged("blind-spots/fires")
    said = verdict(taken.findings, taken)
    assert said.severity is None
    assert said.text == "nothing wrong in 60 s, as far as natop can see"
    assert not report.is_grave(taken)


def test_without_a_second_reading_there_is_no_verdict() -> None:
    taken = snapshot({"seconds": 0})
    assert verdict(diagnose(taken), taken).text == "watching: rates need a second reading"
    assert verdict(None, taken).text == "not judged yet"


def test_what_could_not_be_judged_does_not_pass_for_health() -> None:
    healthy = judged("blind-spots/quiet")
    assert report.verdict_line(healthy) == "OK: nothing wrong in 60 s"
    new = snapshot({"seconds": 0})
    waiting = replace(new, findings=diagnose(new))
    unread = replace(healthy, gaps=(Gap("flows", "reading conntrack needs CAP_NET_ADMIN", "run: sudo natop"),))
    assert [report.verdict_line(each) for each in (new, waiting, unread)] == [
        "UNKNOWN: not judged yet",
        "UNKNOWN: watching: rates need a second reading",
        "UNKNOWN: nothing seen wrong in 60 s, but flows could not be read",
    ]


@pytest.mark.parametrize("room", [80, 40])
@pytest.mark.parametrize("name", [RACE, "nat-port-exhaustion/fires", "stale-mapping/fires-ipv6"])
def test_words_fit_a_terminal_and_what_is_copied_stays_whole(room: int, name: str) -> None:
    taken = judged(name)
    copied = {line for finding in taken.findings or () for each in finding.remedies for line in _copied(each)}
    written = "".join(report.as_text(taken, 60.0, room)).splitlines()
    assert copied <= set(written)
    assert max(len(line) for line in written if line not in copied) <= room


def _copied(remedy: Remedy) -> list[str]:
    texts = (*remedy.commands, *remedy.undo, *(each.text for each in remedy.snippets))
    return [line for each in texts for line in each.splitlines()]


@pytest.mark.parametrize("room", [80, 40])
def test_explanations_fit_a_terminal(room: int) -> None:
    explained = [report.explanation(name, room) or "" for name in RULES]
    assert max(len(line) for text in explained for line in text.splitlines()) <= room
    whole = [report.explanation(name) or "" for name in RULES]
    assert [text.split() for text in explained] == [text.split() for text in whole]


def test_text_keeps_commands_whole() -> None:
    text = "".join(report.as_text(judged(RACE), 60.0))
    assert text.splitlines()[1].startswith("CRITICAL: race for a NAT source port: 41 new connections")
    start = text.index("nft -f - <<'END'\n")
    command = text[start : text.index("\nEND\n", start) + 4]
    assert "masquerade fully-random" in command
    assert all(line and len(line) <= report.WIDTH for line in text[:start].splitlines() if line.strip())
    assert "\n  undo:\nnft delete table ip natop_random\n" in text
    assert (
        "\n  write into compose.yaml of shop:\nservices:\n  web:\n    network_mode: host\n  undo: take it out" in text
    )


def tokens(text: str) -> list[Token]:
    return MarkdownIt("commonmark").parse(text)


def test_markdown_fences_commands_and_escapes_the_rest() -> None:
    text = "".join(report.as_markdown(judged(RACE), 60.0))
    assert "#### CRITICAL snat-race: host\n" in text
    assert "insert\\_failed +41" in text
    (race, host) = (judged(RACE).findings or ())[0].remedies
    fenced = [token.content for token in tokens(text) if token.type == "fence"]
    assert fenced == [f"{block}\n" for block in (*race.commands, *_written(race), *race.undo, *_written(host))]


def _written(remedy: Remedy) -> list[str]:
    return [each.text for each in remedy.snippets]


HOSTILE = "# x\ufffd```\ufffd- <img src=x> [a](http://x) ~~~ *b* | &amp; !"
"""A name that an engine might tell, as it is once line ends have been taken out of it."""


def test_names_are_nothing_but_text_in_markdown() -> None:
    told = renamed(lambda text: {"webserver": HOSTILE, "web": HOSTILE, "shop": HOSTILE}.get(text, text))(
        dict(read(FOLDER / f"{RACE}.toml"))
    )
    taken = snapshot(told)
    taken = replace(taken, findings=diagnose(taken))
    plain, hostile = ("".join(report.as_markdown(each, 60.0)) for each in (judged(RACE), taken))
    assert [(token.type, token.tag) for token in tokens(hostile)] == [
        (token.type, token.tag) for token in tokens(plain)
    ]
    inline = [child for token in tokens(hostile) for child in token.children or ()]
    assert {child.type for child in inline} <= {"text", "text_special", "strong_open", "strong_close"}
    said = "".join(child.content for child in inline)
    assert said.count(HOSTILE) >= 3


def test_the_list_of_rules_fits_a_terminal() -> None:
    lines = "".join(report.rule_list(80)).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == list(RULES)
    assert "".join(report.rule_list(80)).split() == "".join(report.rule_list()).split()


def test_json_holds_everything() -> None:
    document = json.loads("".join(report.as_json(judged(RACE), 60.0)))
    assert document["verdict"] == {"severity": "critical", "text": judged(RACE).findings[0].summary}  # type: ignore[index]  # there are findings
    finding = document["findings"][0]
    assert finding.keys() == {"rule", "severity", "subject", "summary", "evidence", "remedies"}
    remedy = finding["remedies"][0]
    assert remedy.keys() == {"text", "commands", "undo", "cost", "check", "snippets", "undo_text"}
    assert remedy["snippets"][0].keys() == {"place", "text"}


@pytest.mark.parametrize("name", RULES)
def test_each_rule_explains_itself(name: str) -> None:
    text = report.explanation(name)
    assert text
    assert text.startswith(f"{name}: ")
    assert "Decided by:" in text
    assert "To fix:" in text


def ran(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "natop", *arguments], capture_output=True, text=True, check=False)


def test_explain_lists_and_refuses() -> None:
    listed = ran("explain").stdout.splitlines()
    assert [line.split()[0] for line in listed if not line.startswith(" ")] == list(RULES)
    refused = ran("explain", "nope")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "no rule 'nope'" in refused.stderr
