"""Numbers, times and bars as text."""

import pytest
from rich.cells import cell_len

from natop.tui import formats
from natop.tui.bars import gauge, gauge_of_two, portions, sparkline
from natop.tui.glyphs import ASCII, UNICODE, plain


@pytest.mark.parametrize(
    ("number", "width", "text"),
    [
        (0, None, "0"),
        (5320, None, "5,320"),
        (262144, 7, "262,144"),
        (262144, 6, "262k"),
        (1_234_567, 6, "1.23M"),
        (None, 6, UNICODE.unknown),
    ],
)
def test_count(number: int | None, width: int | None, text: str) -> None:
    assert formats.count(number, width=width) == text


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (0.0, False, "0.0/s"),
        (-0.0, False, "0.0/s"),
        (12.34, False, "12.3/s"),
        (1234.5, False, "1,234/s"),
        (2.2, True, "+2.2/s"),
        (-2.2, True, "-2.2/s"),
        (0.0, True, "0.0/s"),
        (None, True, UNICODE.unknown),
    ],
)
def test_rate(value: float | None, signed: bool, text: str) -> None:
    assert formats.rate(value, signed=signed) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.5, "0.5 s"),
        (0.04, "0 s"),
        (12.4, "12 s"),
        (59.7, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7440, "2 h 04 min"),
        (442800, "5 d 03 h"),
        (None, UNICODE.unknown),
    ],
)
def test_span(seconds: float | None, text: str) -> None:
    assert formats.span(seconds) == text


def test_share_of_an_unknown_or_empty_whole_is_unknown() -> None:
    assert formats.share(6615, 262144) == "2.5 %"
    assert formats.share(5, 5) == "100 %"
    assert formats.share(1, 0) == formats.share(1, None) == formats.share(None, 1) == UNICODE.unknown


@pytest.mark.parametrize("width", range(12))
@pytest.mark.parametrize("text", ["", "web", "shop-web-1", "数据库容器", "a数b据c库"])
def test_fit_gives_exactly_the_width(text: str, width: int) -> None:
    for right in (False, True):
        assert cell_len(formats.fit(text, width, right=right)) == width


def test_fit_shows_that_it_cut() -> None:
    assert formats.fit("shop-web-1", 6) == "shop-…"
    assert formats.fit("shop-web-1", 6, ASCII) == "shop-~"
    assert formats.fit("web", 6, right=True) == "   web"


def test_gauge_shows_anything_above_nothing() -> None:
    assert gauge(0.0, 10) == ("", UNICODE.track * 10)
    assert gauge(0.0001, 10) == (UNICODE.gauge, UNICODE.track * 9)
    assert gauge(0.5, 10, ASCII) == ("=====", ".....")
    assert gauge(3.0, 4, ASCII) == ("====", "")
    assert gauge(None, 4, ASCII) == ("", "....")
    assert gauge(0.5, -3) == ("", "")


@pytest.mark.parametrize(
    "numbers", [(1, 1, 5320, 1), (0, 0, 7, 0), (100, 100, 100, 100), (1, 0, 0, 999_999), (3, 1, 1, 1)]
)
@pytest.mark.parametrize("width", [4, 7, 60, 149])
def test_portions_fill_the_bar_and_hide_nothing(numbers: tuple[int, ...], width: int) -> None:
    cells = portions(numbers, width)
    assert sum(cells) == width
    assert all(bool(number) == bool(size) for number, size in zip(numbers, cells, strict=True))


def test_portions_of_nothing() -> None:
    assert portions((0, 0), 10) == (0, 0)
    assert portions((1, 2), 0) == (0, 0)


def test_sparkline_ends_with_the_newest() -> None:
    assert sparkline((0, 0, 0, 8), 6) == "  ▁▁▁▇"
    assert sparkline(tuple(range(100)), 4, ASCII)[-1] == "#"
    assert sparkline((), 3) == "   "
    assert sparkline((1, 2), 0) == ""


def test_sparkline_does_not_make_a_peak_of_noise() -> None:
    assert set(sparkline((1000, 1010, 1000, 1005), 4)) <= set("▆▇")
    assert sparkline((1000, 1320), 2) == "▁▇"


def test_sparkline_of_zeros_lies_on_the_ground() -> None:
    assert sparkline((0, 0), 2) == "▁▁"
    assert sparkline((5,), 1) == "▇"


def test_plain_has_ascii_only() -> None:
    assert plain("naïve-数据") == "na?ve-??"
    assert plain("timed out ×2 → app…") == "timed out x2 -> app~"


def test_the_plain_glyphs_are_ascii() -> None:
    for name in ASCII.__slots__:
        assert "".join(getattr(ASCII, name)).isascii()


@pytest.mark.parametrize(
    ("numbers", "bar"),
    [
        ((0, 0, 100), ("", "", "..........")),
        ((50, 80, 100), ("=====", "---", "..")),
        ((1, 1, 1000), ("=", "", ".........")),
        ((0, 1, 1000), ("", "-", ".........")),
        ((999, 1000, 1000), ("=========", "-", "")),
        ((1, 1000, 1000), ("=", "---------", "")),
    ],
)
def test_a_gauge_of_two_shows_both(numbers: tuple[int, int, int], bar: tuple[str, str, str]) -> None:
    assert gauge_of_two(*numbers, 10, ASCII) == bar


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (0.0, "0"),
        (1e-9, "0"),
        (1e-5, "<0.1"),
        (0.0006, "0.1"),
        (0.0413, "4.1"),
        (0.0996, "10"),
        (0.43, "43"),
        (1, "100"),
    ],
)
def test_a_chance_in_percent(part: float, text: str) -> None:
    assert formats.chance(part) == text


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("shop-web-1", 10, "shop-web-1"),
        ("billing-worker-1", 15, "billing…orker-1"),
        ("[fd00:19:1234::abcd:2]:18080", 20, "[fd00:19:…d:2]:18080"),
        ("10.20.30.40:65535", 10, "10.…:65535"),
        ("数据数据数据-1", 9, "数…数据-1"),
        ("shop-web-1", 3, "…-1"),
        ("shop", 1, "…"),
        ("shop", 0, ""),
    ],
)
def test_what_is_too_long_keeps_its_end(text: str, width: int, shown: str) -> None:
    assert formats.shortened(text, width) == shown
    assert cell_len(shown) <= width
