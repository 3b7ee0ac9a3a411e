"""Fields of other programs' JSON: nothing promises that one is there, or of its kind."""

from collections.abc import Mapping

Fields = Mapping[str, object]


def mapping(value: object) -> Fields:
    """The value where it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def inner(fields: Fields, *keys: str) -> Fields:
    """The object behind these keys, one within the other; an empty one where there is none."""
    for key in keys:
        fields = mapping(fields.get(key))
    return fields


def raw_text(fields: Fields, key: str) -> str:
    """A text as it came, controls and all; empty where there is none."""
    value = fields.get(key)
    return value if isinstance(value, str) else ""


def first_process(container: Fields) -> int | None:
    """Of a container that the engine inspected; None where it does not run, for which the engine says 0."""
    pid = inner(container, "State").get("Pid")
    return pid if type(pid) is int and 0 < pid < 2**31 else None
