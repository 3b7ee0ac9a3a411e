"""Lines for containers' own files: the services of a compose project, or options of `docker run`."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from natop.model import Container, Snippet

Tree = Mapping[str, "Tree"] | Sequence[str] | str | int | bool
NOTHING: Mapping[str, Tree] = MappingProxyType({})
DEFAULT = "default"
"""The network that compose gives each service which names none."""

_PLAIN = re.compile(r"[a-zA-Z][a-zA-Z0-9_.-]*")
_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
"""What YAML 1.1 takes for something else than text."""


OPTIONS = "the options of docker run for"
OWN_FILE, OVERRIDE = "compose.yaml", "compose.override.yaml"
"""The project's own file, for what takes the place of lines there; and the one that it reads beside that and adds."""


def lines_for(
    containers: Sequence[Container], settings: Tree, option: str, file: str = OVERRIDE
) -> tuple[Snippet, ...]:
    """The same settings for services of compose, and the option for containers that are none."""
    alone = (each for each in containers if not is_service(each))
    return (
        *_services(containers, lambda _: settings, file),
        *(Snippet(f"{OPTIONS} {each.name}", option) for each in alone),
    )


def joining(containers: Sequence[Container], network: str, place: Tree) -> tuple[Snippet, ...]:
    """That services are on a network made beside compose too, as well as on those that they are on."""

    def networks(container: Container) -> Tree:
        on_default = any(at.network == f"{container.project}_{DEFAULT}" for at in container.networks)
        return {"networks": ({DEFAULT: {}} if on_default else {}) | {network: place}}

    return _services(containers, networks, OVERRIDE, {"networks": {network: {"external": True}}})


def _services(
    containers: Sequence[Container],
    settings_of: Callable[[Container], Tree],
    file: str,
    top: Mapping[str, Tree] = NOTHING,
) -> tuple[Snippet, ...]:
    """Lines for each compose project; `top` is what stands beside `services:`."""
    projects: dict[str, dict[str, Tree]] = {}
    for each in containers:
        if is_service(each):
            projects.setdefault(each.project or "", {})[each.service or ""] = settings_of(each)
    return tuple(
        Snippet(f"{file} of {project}", yaml({"services": found, **top})) for project, found in projects.items()
    )


def is_service(container: Container) -> bool:
    return bool(container.project and container.service)


def yaml(tree: Mapping[str, Tree]) -> str:
    """A tree as YAML, without a line end at its end."""
    return "\n".join(_lines(tree, ""))


def _lines(tree: Mapping[str, Tree], indent: str) -> Iterator[str]:
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{scalar(name)}:"
            yield from _lines(value, indent + "  ")
        elif isinstance(value, Mapping):
            yield f"{indent}{scalar(name)}: {{}}"
        elif isinstance(value, str | int):
            yield f"{indent}{scalar(name)}: {scalar(value)}"
        else:
            yield f"{indent}{scalar(name)}:"
            yield from (f"{indent}  - {scalar(each)}" for each in value)


def scalar(value: str | int) -> str:
    """One value; in double quotes and with escapes where it might be read as anything but this text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return '"' + "".join(map(_letter, value)) + '"'


def _letter(letter: str) -> str:
    return letter if " " <= letter <= "~" and letter not in '"\\' else f"\\U{ord(letter):08X}"
