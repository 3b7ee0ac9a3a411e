"""Options that several commands have, exit status, and what a command does not do. Only click is imported here."""

import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

F = TypeVar("F", bound=Callable[..., Any])


class Exit(IntEnum):
    """Exit status; the numbers are an interface."""

    OK = 0
    FINDINGS = 1
    USAGE = 2
    UNREADABLE = 3
    INTERRUPTED = 130
    UNREAD = 128 + signal.SIGPIPE


class Refused(Exception):
    """What was asked for cannot be done. The message is one to three lines for stderr."""

    def __init__(self, status: Exit, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Common:
    """The options that mean the same everywhere; None is not given."""

    interval: float | None = None
    filter: str | None = None
    sort: str | None = None
    docker_context: str | None = None
    docker_host: str | None = None
    no_docker: bool | None = None
    netns: str | None = None
    config: Path | None = None

    def over(self, others: "Common | None") -> "Common":
        """These options, and the others' where these are not given."""
        mine = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(others or Common(), **{name: value for name, value in mine.items() if value is not None})

    @property
    def interval_s(self) -> float:
        return DEFAULT_INTERVAL_S if self.interval is None else self.interval


DEFAULT_INTERVAL_S = 2.0


class Seconds(click.FloatRange):
    """NaN compares with no bound, and so would pass."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value} is not a number of seconds.", param, ctx)
        return seconds


class _Text(click.types.StringParamType):
    """A word that means nothing when it is empty, as where a script's variable is not set."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(_not_empty(value, param, ctx), param, ctx)


class FilePath(click.Path):
    """Of an empty one Python would make the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(_not_empty(value, param, ctx), param, ctx)


def _not_empty(value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
    if not str(value).strip():
        raise click.BadParameter("it is empty.", ctx, param)
    return value


INTERVAL = Seconds(0.5, 60)
EVERY = Seconds(0.5, 86_400)
WATCH = Seconds(1, 86_400)
"""Over less than a second no rate is judged."""
FILTER = click.option("--filter", metavar="EXPR", help="Only what matches, as 'state:time_wait dport:443'.")
SORT = click.option("--sort", type=_Text(), metavar="COLUMN", help="Sort by this column; -COLUMN the other way round.")
_READINGS = click.option("--interval", type=INTERVAL, metavar="S", help="Seconds between readings, 0.5 to 60 (2).")
_HOST = (
    click.option("--context", "docker_context", type=_Text(), metavar="NAME", help="Docker context to ask."),
    click.option(
        "--docker-host", type=_Text(), metavar="URL", help="Docker Engine to ask, as unix:///run/docker.sock."
    ),
    click.option("--no-docker", is_flag=True, default=None, help="Leave Docker out; flows by address."),
    click.option("--netns", type=_Text(), metavar="NAME|PATH|PID", help="Read that network namespace."),
    click.option("--config", type=FilePath(path_type=Path), metavar="FILE", help="Read that configuration file."),
)


def _with(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorated(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorated


common_options = _with(_READINGS, FILTER, SORT, *_HOST)
whole_host_options = _with(_READINGS, *_HOST)
"""For a command that looks at the whole of a host."""
host_options = _with(*_HOST)
"""For a command that takes no readings either."""


def given_before(context: click.Context) -> Iterator[click.Parameter]:
    """The options that stand before a command."""
    before = context.parent
    for each in before.command.params if before else ():
        if before and each.name and before.get_parameter_source(each.name) is ParameterSource.COMMANDLINE:
            yield each


class Command(click.Command):
    """Refuses options before it that it does not take, since it would ignore them."""

    def invoke(self, ctx: click.Context) -> Any:
        taken = {each.name for each in self.params}
        for each in given_before(ctx):
            if each.name not in taken:
                raise click.UsageError(f"{self.name} takes no {each.opts[0]}", ctx)
        return super().invoke(ctx)


class Program(click.Group):
    """A group of such commands, which a reader that goes away ends as SIGPIPE would.

    Left to click, the status would be that of findings. What prints at once, as --help, does so before any command.
    """

    command_class = Command

    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        with _read_to_the_end():
            return super().make_context(*arguments, **more)

    def invoke(self, ctx: click.Context) -> Any:
        with _read_to_the_end():
            return super().invoke(ctx)


@contextmanager
def _read_to_the_end() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise click.exceptions.Exit(Exit.UNREAD) from error
