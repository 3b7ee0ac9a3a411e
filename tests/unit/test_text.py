"""Text from outside, and numbers as text."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop import formats
from natop.text import MAX_LENGTH, clean


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web-1", "web-1"),
        ("café ☕ 网络", "café ☕ 网络"),
        ("\x1b[31mred\x1b[0m", "�[31mred�[0m"),
        ("\x1b]52;c;aGk=\x07", "�]52;c;aGk=�"),
        ("a\nb\r\tc\0", "a�b��c�"),
        ("\x9b2J", "�2J"),
        ("evil\u202egnp.exe", "evil�gnp.exe"),
        ("a\u200bb\ufeff\u2066", "a�b��"),
        ("line\u2028end", "line�end"),
        ("tag\U000e0041", "tag�"),
        ("lone\ud800", "lone�"),
        ("del\x7f", "del�"),
        ("[bold]not markup here", "[bold]not markup here"),
        (None, ""),
        (8080, "8080"),
    ],
)
def test_clean(text: object, expected: str) -> None:
    assert clean(text) == expected


@given(st.text(st.characters() | st.sampled_from("\x1b\x9b\u202e\u200b\n\ud800"), max_size=300))
def test_nothing_clean_can_act_on_a_terminal(text: str) -> None:
    cleaned = clean(text)
    assert len(cleaned) == min(len(text), MAX_LENGTH)
    assert not {unicodedata.category(character) for character in cleaned} & {"Cc", "Cs", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(character) for character in cleaned} & BIDIRECTIONAL
    assert cleaned.splitlines() in ([], [cleaned])
    assert clean(cleaned) == cleaned
    cleaned.encode()


BIDIRECTIONAL = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (None, "-"),
        (0.0, "0.0/s"),
        (-0.04, "0.0/s"),
        (0.05, "0.1/s"),
        (12.34, "12.3/s"),
        (-3.0, "-3.0/s"),
        (999.9, "999.9/s"),
        (999.97, "1,000/s"),
        (1234567.8, "1,234,568/s"),
    ],
)
def test_rates(number: float | None, expected: str) -> None:
    assert formats.rate(number) == expected


def test_a_rate_is_a_number_and_its_unit() -> None:
    assert [formats.decimal(each) for each in (None, 0.0, -0.04, 12.34, 1234.5)] == ["-", "0.0", "0.0", "12.3", "1,234"]


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("", 0),
        ("shop-web-1", 10),
        ("8080→80", 7),
        ("café", 4),
        ("cafe\u0301", 4),
        ("店舗", 4),
        ("ﾃﾝﾎﾟ", 4),
        ("\uff21\uff22", 4),
        ("한국", 4),
        ("\U0001f433", 2),
    ],
)
def test_cells_that_a_terminal_needs(text: str, cells: int) -> None:
    assert formats.cells_of(text) == cells
    assert formats.padded(text, 12) == text + " " * (12 - cells)
    assert formats.padded(text, 12, right=True) == " " * (12 - cells) + text
    assert formats.padded(text, 0) == text


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [
        (None, 10, "-"),
        (10, None, "-"),
        (10, 0, "-"),
        (0, 10, "0.0 %"),
        (6615, 262144, "2.5 %"),
        (9996, 10000, "100 %"),
        (10, 5, "200 %"),
    ],
)
def test_shares(part: int | None, whole: int | None, expected: str) -> None:
    assert formats.share(part, whole) == expected


def test_counts_have_separators() -> None:
    assert (formats.count(1234567), formats.count(0), formats.count(None)) == ("1,234,567", "0", "-")
