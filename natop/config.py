"""The configuration file: what a user wants each time, in TOML. The command line goes before it.

interval = 1.0
[probe]
targets = ["192.0.2.7:443"]
from = ["shop-app-1"]
"""

import errno
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from natop.text import clean

MOST_BYTES = 1 << 20
"""A configuration file is no longer than that."""


class BadConfig(ValueError):
    """A mistake in the file. The message is one to three lines for a person, and names the place."""


@dataclass(frozen=True, slots=True)
class Probes:
    """The table `[probe]`."""

    targets: tuple[str, ...] = ()
    """HOST:PORT or http://HOST/PATH, probed while the live view runs."""
    sources: tuple[str, ...] = ()
    """Containers from inside which they are called too; `from` in the file."""
    published: bool = False
    """Whether published ports are probed from the start of the live view."""
    polite: bool = False
    every: float = 2.0
    """Seconds."""
    timeout: float = 10.0
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file; None is not given. To build one loads nothing: most users have no file."""

    interval: float | None = None
    context: str | None = None
    docker_host: str | None = None
    no_docker: bool | None = None
    netns: str | None = None
    filter: str | None = None
    """This, the order and the characters are the live view's alone: a file must not thin out what scripts read."""
    sort: str | None = None
    ascii: bool = False
    probe: Probes = field(default_factory=Probes)


_BOUNDS = {("", "interval"): (0.5, 60.0), ("probe", "every"): (2.0, 86_400.0), ("probe", "timeout"): (0.1, 120.0)}
"""Seconds, as those of the options; by table and key."""
_RENAMED = {"sources": "from"}
"""Fields that are called otherwise in the file."""


def load(path: Path) -> Config:
    """What stands in a file. Raises OSError and BadConfig."""
    with open(path, "rb", opener=_open_file) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise BadConfig(f"{clean(path)}: more than {MOST_BYTES:,} bytes; that is no configuration file")
    return parse(content, clean(path))


def _open_file(path: str, flags: int) -> int:
    """A regular file, or the null device for none at all; others may never end, or wait for a writer."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode) or os.path.samestat(os.fstat(descriptor), os.stat(os.devnull)):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is no regular file")


def parse(content: bytes, name: str) -> Config:
    """The text of the file with that name. Raises BadConfig."""
    import tomllib

    try:
        text = content.decode()
        document = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise BadConfig(f"{name}: line {line}: not UTF-8") from error
    except RecursionError as error:
        raise BadConfig(f"{name}: it is nested too deep") from error
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(f"{name}: {_placed(str(error), text)}") from error
    except ValueError as error:  # int() takes no more digits than `sys.get_int_max_str_digits`
        raise BadConfig(f"{name}: a number in it has too many digits") from error
    place = _Place(name, text)
    _check_keys(document, Config, "", place)
    if isinstance(document.get("probe"), dict):
        _check_keys(document["probe"], Probes, "probe", place)
    found = _converted(document, place)
    _check_sense(found, place)
    return found


def _converted(document: dict[str, Any], place: "_Place") -> Config:
    import msgspec

    probe = document.get("probe")
    if isinstance(probe, dict):
        document = {**document, "probe": {_field(key): value for key, value in probe.items()}}
    try:
        return msgspec.convert(document, Config)
    except msgspec.ValidationError as error:
        said, _, path = str(error).partition(" - at `$.")
        table, _, key = re.sub(r"\[.*", "", path.rstrip("`")).rpartition(".")
        raise place.mistake(table, _RENAMED.get(key, key), _in_words(said)) from error


def _field(key: str) -> str:
    return next((name for name, shown in _RENAMED.items() if shown == key), key)


class _Place:
    """Where in the file a key stands, as far as that can be told: TOML's reader keeps no positions."""

    def __init__(self, name: str, text: str) -> None:
        self._name, self._lines = name, text.splitlines()

    def mistake(self, table: str, key: str, what: str) -> BadConfig:
        numbers = self._lines_of(table, key)
        at = f"line {numbers[0]}: " if len(numbers) == 1 else ""
        return BadConfig(f"{self._name}: {at}{f'[{table}] ' if table else ''}{clean(key)}: {what}")

    def _lines_of(self, table: str, key: str) -> list[int]:
        """The lines that begin with the key, or its table's heading, in that table."""
        found, here = [], ""
        begins = re.compile(rf"""\s*(?:\[\s*)?["']?{re.escape(key)}["']?\s*[=.\]]""")
        for number, line in enumerate(self._lines, 1):
            if begins.match(line) and here == table:
                found.append(number)
            if heading := re.match(r"\s*\[+\s*([\w.-]+)\s*\]", line):
                here = heading[1]
                if not table and here == key:
                    found.append(number)
        return sorted(set(found))


def _placed(said: str, text: str) -> str:
    """TOML's complaint with the place before it: `line 3, column 8: invalid value`."""
    found = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", said, re.DOTALL)
    if found is None:
        return clean(said)
    last = f"line {text.count(chr(10)) + 1}, at the end"
    where = f"line {found[2]}, column {found[3]}" if found[2] else last
    return f"{where}: {clean(found[1][:1].lower() + found[1][1:])}"


def _check_keys(document: Mapping[str, Any], shape: type[Config | Probes], table: str, place: _Place) -> None:
    known = [_RENAMED.get(each.name, each.name) for each in fields(shape)]
    for key in document:
        if key not in known:
            from difflib import get_close_matches

            near = get_close_matches(key, known, 1, 0.5)
            hint = f"do you mean {near[0]}?" if near else f"there are {' '.join(known)}"
            raise place.mistake(table, key, f"no such key; {hint}")


_WORDS = {
    "float": "a number",
    "int": "a number",
    "str": "text in quotes",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
}


def _in_words(said: str) -> str:
    """msgspec's complaint, its types in TOML's words."""
    said = said.replace(" | null", "")
    return re.sub(r"`(\w+)`", lambda found: _WORDS.get(found[1], found[1]), said[:1].lower() + said[1:])


def _check_sense(config: Config, place: _Place) -> None:
    """What types do not say. Loads the parts of natop that know, where there is something to check."""
    for (table, key), (least, most) in _BOUNDS.items():
        value = getattr(config.probe if table else config, key)
        if value is not None and not least <= value <= most:
            raise place.mistake(table, key, f"{value:g} is not from {least:g} to {most:g} seconds")
    if config.docker_host and config.context:
        raise place.mistake("", "context", "it does not go with docker_host")
    if config.no_docker and (config.docker_host or config.context):
        raise place.mistake(
            "", "no_docker", f"it does not go with {'docker_host' if config.docker_host else 'context'}"
        )
    if any(clean(name) != name for name in config.probe.sources):
        raise place.mistake("probe", "from", "a container's name has no such characters")
    if config.probe.targets:
        from natop.probing import BadTarget, parse_target

        try:
            for text in config.probe.targets:
                parse_target(text)
        except BadTarget as error:
            raise place.mistake("probe", "targets", str(error)) from error
    if config.sort:
        from natop.columns.containers import CONTAINER_COLUMNS
        from natop.columns.flows import FLOW_COLUMNS

        keys = [each.key for each in CONTAINER_COLUMNS] + [each.key for each in FLOW_COLUMNS]
        if config.sort.removeprefix("-") not in keys:
            raise place.mistake(
                "", "sort", f"no column {clean(config.sort)!r}; there are {' '.join(dict.fromkeys(keys))}"
            )
    if config.filter:
        from natop.columns.filters import parse
        from natop.columns.terms import FilterError

        try:
            parse(config.filter)
        except FilterError as error:
            raise place.mistake("", "filter", f"it cannot be read\n{error.pointer()}") from error
