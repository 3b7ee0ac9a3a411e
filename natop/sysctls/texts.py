"""What stands in the files below /proc/sys, as values."""

from collections.abc import Mapping

from natop.sysctls.kinds import Value

PORT_LIST = "ip_local_reserved_ports"


def decode(texts: Mapping[str, str]) -> dict[str, Value]:
    """What files below /proc/sys said, by the sysctls' names; what is no number is left out."""
    values = {path.rpartition("/")[2]: text for path, text in texts.items()}
    found = {name: parse_ports(text) if name == PORT_LIST else parse(text) for name, text in values.items()}
    return {name: value for name, value in found.items() if value is not None}


def parse(text: str) -> Value | None:
    """The text of a file below /proc/sys: a number, or several; None where it is something else."""
    words = text.split()
    if not words or not all(map(_is_number, words)):
        return None
    numbers = tuple(map(int, words))
    return numbers if len(numbers) > 1 else numbers[0]


def parse_ports(text: str) -> tuple[int, ...] | None:
    """A list of ports (`8080,9000-9010`, or nothing) as first, last, first, last …; None where it is something else."""
    ends = [part.partition("-") for part in text.strip().split(",")] if text.strip() else []
    words = [word for first, dash, last in ends for word in (first, last if dash else first)]
    return tuple(map(int, words)) if all(map(_is_number, words)) else None


def _is_number(word: str) -> bool:
    """Whether it is one that 63 bits hold."""
    return word.isascii() and word.isdigit() and len(word) < 19
