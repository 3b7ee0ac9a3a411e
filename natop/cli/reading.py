"""Which host is meant, and which part of it is wanted, by the options that are given."""

from typing import TYPE_CHECKING

import click

from natop.cli.options import Common, Exit, Refused

if TYPE_CHECKING:
    from natop.columns.filters import Filter
    from natop.export.snapshots import View
    from natop.feed import Source


def check_engine(common: Common) -> None:
    """Raises Refused for a context that is named and does not exist, and click.UsageError; loads no Docker library."""
    from natop.collect import context
    from natop.text import clean

    if common.no_docker and (common.docker_host or common.docker_context):
        raise click.UsageError("--no-docker does not go with --docker-host or --context")
    if common.docker_host and common.docker_context:
        raise click.UsageError("give --docker-host or --context, not both")
    if common.docker_host and "://" not in common.docker_host:
        raise click.UsageError(
            f"{clean(common.docker_host)!r} is no URL of a Docker Engine, as unix:///run/docker.sock"
        )
    if common.docker_context:
        try:
            context.endpoint(common.docker_context)
        except context.NoContext as error:
            raise Refused(Exit.UNREADABLE, clean(str(error))) from error


def source_of(common: Common) -> "Source":
    """Raises what `check_engine` does."""
    from natop.collect.engine import Target
    from natop.feed import Source

    check_engine(common)
    return Source(common.netns, None if common.no_docker else Target(common.docker_host, common.docker_context))


def view_of(common: Common, flows: bool) -> "View":
    from natop.export import snapshots

    keys = snapshots.sort_keys(flows)
    if common.sort and common.sort.removeprefix("-") not in keys:
        raise click.UsageError(f"no column {common.sort!r}; there are {' '.join(dict.fromkeys(keys))}")
    return snapshots.View(parsed_filter(common.filter) if common.filter else None, common.sort, flows)


def parsed_filter(text: str) -> "Filter":
    """Raises Refused, with a pointer at the mistake."""
    from natop.columns.filters import parse
    from natop.columns.terms import FilterError

    try:
        return parse(text)
    except FilterError as error:
        raise Refused(Exit.USAGE, f"--filter cannot be read\n{error.pointer()}") from error
