"""Filter expressions as terms, each of a field and its values: `container:web* state:time_wait,close !proto:udp`.

Terms are joined by *and*, a comma is *or*, `!` or `-` before a term negates it.
"""

import fnmatch
import ipaddress
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput

from natop.formats import cells_of
from natop.model import UNKNOWN32, UNKNOWN64, address_number
from natop.text import clean

CONTAINER_FIELDS = ("container", "client", "server", "project", "service", "image", "network")
WORD_FIELDS = ("state", "status", "kind", "proto")
ADDRESS_FIELDS = ("src", "dst", "nat", "addr", "rsrc", "rdst")
PORT_FIELDS = ("sport", "dport", "port")
REPLY_PORT_FIELDS = ("rsport", "rdport")
"""The reply tuple's as it is: of ICMP, the id, and type × 256 + code."""
NUMBER_FIELDS = (*PORT_FIELDS, *REPLY_PORT_FIELDS, "zone", "mark", "timeout", "packets", "bytes")
FIELDS = (*CONTAINER_FIELDS, *WORD_FIELDS, *ADDRESS_FIELDS, *NUMBER_FIELDS)

LARGEST = {"mark": UNKNOWN32, "timeout": UNKNOWN32 - 1, "packets": UNKNOWN64 - 1, "bytes": UNKNOWN64 - 1}
"""The largest number that a column can tell; where there are unknown ones, the one above stands for them."""


_GRAMMAR = rf"""
start: term*
term: NEGATION? FIELD? value ("," value)*
value: REGEX | NUMBERS | QUOTED | WORD
NEGATION: /[!-]/
FIELD.2: /({"|".join(FIELDS)}):/
REGEX: /\/(\\.|[^\/\\])*\/(?![^\s,])/
NUMBERS: /[<>]=?\d+(?![^\s,])/
QUOTED: /"[^"]*"(?![^\s,])/
WORD: /[^\s,!"<>\/-][^\s,"]*/
%ignore /\s+/
"""

_PATTERNLESS = ("src", "dst", "addr", "rsrc", "rdst", *NUMBER_FIELDS)
"""Fields whose values are numbers or addresses, never patterns."""
_OTHER_FIELD = re.compile(r"([A-Za-z_]+):(?!:)")
_SOME_OCTETS = re.compile(r"\d{1,3}(\.\d{1,3}){0,2}\.|\d{1,3}(\.\d{1,3}){1,2}")


class FilterError(ValueError):
    """An expression that does not parse. `column` counts from 0."""

    def __init__(self, message: str, expression: str, column: int) -> None:
        super().__init__(message)
        self.expression = expression
        self.column = min(column, len(expression))

    def pointer(self) -> str:
        """Two lines: the expression, and a caret under the mistake with what is wrong."""
        shown = clean(re.sub(r"\s", " ", self.expression), len(self.expression))
        return f"{shown}\n{' ' * cells_of(shown[: self.column])}^ {self}"


@dataclass(frozen=True, slots=True)
class Value:
    """One alternative of a term: a pattern for text, and where it reads as such a range or a network."""

    text: str
    matches: Callable[[str], bool]
    numbers: tuple[int, int] | None = None
    """Inclusive bounds."""
    network: tuple[int, int] | None = None
    """First and last 128-bit address."""


@dataclass(frozen=True, slots=True)
class Term:
    negated: bool
    field: str | None
    values: tuple[Value, ...]


@lru_cache(maxsize=1)
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", propagate_positions=True)


def terms_of(text: str) -> tuple[Term, ...]:
    """The terms of an expression; none of an empty one. Raises FilterError."""
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        column = _column(error, text)
        what = "a value is missing" if column >= len(text) else f"{text[column]!r} cannot stand here"
        raise FilterError(what, text, column) from None
    return tuple(_term(term, text) for term in tree.children if isinstance(term, Tree))


def _column(error: UnexpectedInput, text: str) -> int:
    """Where the parser stopped; at the end, it gives the last token's place."""
    token = getattr(error, "token", None)
    at_end = token is not None and token.type == "$END"
    return len(text) if at_end or error.pos_in_stream is None else error.pos_in_stream


def _term(tree: "Tree[Token]", text: str) -> Term:
    negated, field, values = False, None, []
    for child in tree.children:
        if isinstance(child, Tree):
            token = child.children[0]
            assert isinstance(token, Token)
            values.append(_value(token, field, text))
        elif child.type == "NEGATION":
            negated = True
        else:
            field = str(child)[:-1]
    return Term(negated, field, tuple(values))


def _value(token: Token, field: str | None, expression: str) -> Value:
    text, column = str(token), token.start_pos or 0
    if token.type == "REGEX" and field not in _PATTERNLESS:
        return Value(text, _regex(text[1:-1], expression, column))
    if token.type == "QUOTED":
        text = text[1:-1]
    network = _network(text)
    other = _OTHER_FIELD.match(text)
    if token.type == "WORD" and field is None and network is None and other:
        raise FilterError(f"no field {other[1]!r}; there are {' '.join(FIELDS)}", expression, column)
    value = Value(text, _glob(text, whole=field is not None), _numbers(text), network)
    if field in NUMBER_FIELDS:
        _check_numbers(field, value, expression, column)
    if field in _PATTERNLESS and field not in NUMBER_FIELDS and network is None:
        raise FilterError(f"{field} takes an address or a CIDR", expression, column)
    return value


def _check_numbers(field: str, value: Value, expression: str, column: int) -> None:
    """Refuse what is no number, a range from its end to its start, and a number larger than the field holds."""
    if value.numbers is None:
        raise FilterError(f"{field} takes a number, >N or <N", expression, column)
    first, last = value.numbers
    if value.text[0] in "<>":
        return
    largest = LARGEST.get(field, 0xFFFF)
    if max(first, last) > largest:
        raise FilterError(f"{field} is at most {largest:,}", expression, column)
    if first > last:
        raise FilterError(f"{field} has no number from {first} to {last}", expression, column)


def _regex(pattern: str, expression: str, column: int) -> Callable[[str], bool]:
    try:
        with (
            warnings.catch_warnings()
        ):  # of what a later Python may read otherwise: it would be written over the screen
            warnings.simplefilter("ignore")
            compiled = re.compile(pattern.replace("\\/", "/"), re.IGNORECASE)
    except re.error as error:
        raise FilterError(f"regular expression: {error.msg}", expression, column + 1 + (error.pos or 0)) from None
    except (RecursionError, OverflowError):
        raise FilterError("regular expression: nested too deep, or too large a number", expression, column) from None
    return lambda candidate: compiled.search(candidate) is not None


def _glob(text: str, whole: bool) -> Callable[[str], bool]:
    """Without regard to case; a bare word may stand anywhere, a field's value is the whole unless it has a `*`."""
    pattern = text.casefold()
    if not whole and "*" not in pattern:
        return lambda candidate: pattern in candidate.casefold()
    return lambda candidate: fnmatch.fnmatchcase(candidate.casefold(), pattern)


def _numbers(text: str) -> tuple[int, int] | None:
    if match := re.fullmatch(r"([<>])(=?)([0-9]{1,20})", text):
        number, off = int(match[3]), 0 if match[2] else 1
        return (number + off, UNKNOWN64) if match[1] == ">" else (0, number - off)
    if match := re.fullmatch(r"([0-9]{1,20})(?:-([0-9]{1,20}))?|0x([0-9a-fA-F]{1,16})", text):
        first = int(match[3], 16) if match[3] else int(match[1])
        return first, int(match[2] or first)
    return None


def _network(text: str) -> tuple[int, int] | None:
    """First and last address of an address, a CIDR, or the first octets of an IPv4 address."""
    if _SOME_OCTETS.fullmatch(text):
        octets = text.rstrip(".").split(".")
        text = ".".join([*octets, *["0"] * (4 - len(octets))]) + f"/{8 * len(octets)}"
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    return address_number(network.network_address), address_number(network.broadcast_address)
