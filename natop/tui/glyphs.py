"""The characters the screen draws with, and their plain ASCII stand-ins."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Glyphs:
    """One set of characters."""

    unknown: str
    """Stands for what could not be read; never a 0."""
    ellipsis: str
    dot: str
    """Between words of one line."""
    arrow: str
    rewritten: str
    """Between an address and what NAT makes of it."""
    copied: str
    """Between a flow and the docker-proxy that copies it."""
    ascending: str
    descending: str
    alarm: str
    """Beside a number that is bad news, so that its colour is not alone in saying so."""
    gauge: str
    light: str
    """The part of a gauge that weighs less: NAT ports that a new flow may take."""
    track: str
    """The empty part of a gauge."""
    sparks: str
    """A column's height, lowest first. None fills its cell, so that the lines of a table stay apart."""
    fills: tuple[str, str, str, str]
    """Fill of the state bar: ESTABLISHED, SYN, TIME_WAIT, closing."""
    marks: tuple[str, str, str, str]
    """The same parts in the legend."""
    caret: str


UNICODE = Glyphs(
    unknown="–",  # noqa: RUF001  # an en dash is what is meant
    ellipsis="…",
    dot="·",
    arrow="→",
    rewritten="⇒",
    copied="⇄",
    ascending="▲",
    descending="▼",
    alarm="!",
    gauge="━",
    light="╍",
    track="─",
    sparks="▁▂▃▄▅▆▇",
    fills=("█", "█", "█", "█"),
    marks=("■", "■", "■", "■"),
    caret="▲",
)

COLOURLESS = replace(UNICODE, fills=("█", "▒", "▓", "░"), marks=("█", "▒", "▓", "░"))
"""The parts of the state bar differ without their colours."""

ASCII = Glyphs(
    unknown="-",
    ellipsis="~",
    dot="-",
    arrow="->",
    rewritten="=>",
    copied="<>",
    ascending="^",
    descending="v",
    alarm="!",
    gauge="=",
    light="-",
    track=".",
    sparks="_.:-=+*#",
    fills=("#", "+", "=", "-"),
    marks=("#", "+", "=", "-"),
    caret="^",
)


_STAND_INS = str.maketrans({"→": "->", "⇒": "=>", "⇄": "<>", "…": "~", "·": "-", "×": "x", "≥": ">="})


def plain(text: str) -> str:
    """The text in ASCII alone; what has no place there becomes a question mark."""
    return text.translate(_STAND_INS).encode("ascii", "replace").decode("ascii")
