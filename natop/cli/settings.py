"""What holds for a command: its options and, where they are silent, the configuration file."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from natop.cli.options import Common, Exit, Refused

if TYPE_CHECKING:
    from natop.collect.prober import Manners
    from natop.config import Config, Probes


class Settings(NamedTuple):
    """The options that all commands have, and the file; without one, all in it is as by default."""

    common: Common
    config: "Config"


def settled(given: Common) -> Settings:
    """The options given, over those of the file. Raises Refused."""
    from natop.config import Config

    file = given.config or default_file(os.environ)
    config = _read(file) if file else Config()
    return Settings(given.over(_common(config, given)), config)


def for_live_view(settings: Settings) -> Common:
    """The file's filter and order are the live view's alone."""
    common, config = settings
    return common.over(Common(filter=config.filter, sort=config.sort))


def manners(
    probes: "Probes", every_s: float | None = None, timeout_s: float | None = None, polite: bool = False
) -> "Manners":
    """How targets are treated by what is given and, where that is nothing, by the file."""
    from natop.collect.prober import Manners

    return Manners(every_s or probes.every, timeout_s or probes.timeout, polite or probes.polite)


def default_file(environ: Mapping[str, str]) -> Path | None:
    """The file of the user who runs natop, under sudo root's, where there is one."""
    folder = environ.get("XDG_CONFIG_HOME", "")
    with suppress(RuntimeError):  # a user without a home
        # by the XDG specification relative ones are to be ignored
        file = (Path(folder) if folder.startswith("/") else Path.home() / ".config") / "natop" / "config.toml"
        return file if os.path.lexists(file) else None
    return None


def _read(file: Path) -> "Config":
    from natop import config

    try:
        return config.load(file)
    except config.BadConfig as error:
        raise Refused(Exit.USAGE, str(error)) from error
    except OSError as error:
        raise Refused(Exit.UNREADABLE, f"cannot read the configuration {file}: {error.strerror or error}") from error


def _common(config: "Config", given: Common) -> Common:
    """What the file says of options that all commands have: of the engine nothing where it has been named already."""
    found = Common(interval=config.interval, netns=config.netns)
    if given.docker_host or given.docker_context or given.no_docker:
        return found
    if config.no_docker or not (os.environ.get("DOCKER_HOST") or os.environ.get("DOCKER_CONTEXT")):
        return replace(found, docker_host=config.docker_host, docker_context=config.context, no_docker=config.no_docker)
    return found
