"""The commands. What they need is loaded once it is known which is meant, so that each starts fast."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from natop import __version__
from natop.cli.comparing import STDIN, side_from, view_of_diff
from natop.cli.live import run_live_view
from natop.cli.options import (
    EVERY,
    FILTER,
    INTERVAL,
    SORT,
    WATCH,
    Common,
    Exit,
    FilePath,
    Program,
    Refused,
    Seconds,
    common_options,
    given_before,
    host_options,
    whole_host_options,
)
from natop.cli.output import opened, room_of, say, write_snapshots
from natop.cli.reading import source_of
from natop.cli.settings import manners, settled

if TYPE_CHECKING:
    from natop.config import Probes
    from natop.feed import Source
    from natop.model import Snapshot


@click.group(cls=Program, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", message="natop %(version)s")
@click.option("-b", "--batch", is_flag=True, help="Batch: text tables, one after the other, as top -b.")
@click.option("-n", "batch_count", type=click.IntRange(1), metavar="COUNT", help="Batch: end after so many.")
@click.option("-d", "batch_every", type=INTERVAL, metavar="S", help="Batch: seconds between them.")
@click.option("--ascii", is_flag=True, help="Draw with plain ASCII characters.")
@common_options
@click.pass_context
def program(
    context: click.Context,
    /,
    batch: bool,
    batch_count: int | None,
    batch_every: float | None,
    ascii: bool,
    **common: Any,
) -> None:
    """What NAT and connection tracking do to the containers of a Docker host, live.

    Without a command: the live view. Press ? in it for its keys.
    """
    given = context.obj = Common(**common)
    if not batch and (batch_count or batch_every):
        raise click.UsageError("-n and -d go with -b")
    if batch and context.invoked_subcommand:
        raise click.UsageError("-b goes without a command")
    if context.invoked_subcommand is None:
        settings = settled(given)
        if batch:
            every_s = batch_every or settings.common.interval_s
            write_snapshots(settings.common, "text", None, False, _readings(every_s, batch_count))
        else:
            run_live_view(settings, ascii)


FORMATS = ("json", "csv", "md", "text")
DEMO_SCENES = ("race", "exhaustion", "timewait")
"""`demo.plan.SCENES`, named here so that the command starts without loading the demo."""


@program.command()
@click.option("--format", "form", type=click.Choice(FORMATS), help="json when piped, text on a terminal.")
@click.option("-o", "--output", type=FilePath(path_type=Path, dir_okay=False), metavar="FILE", help="Write to FILE.")
@click.option("--flows", is_flag=True, help="With every flow.")
@click.option("--every", type=EVERY, metavar="S", help="Repeat every S seconds; JSON is then a document a line.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="Repeat N times; with --probe, probe N times.")
@click.option("--probe", is_flag=True, help="First probe each published port by all its ways, --count times (1).")
@click.option("--own-flows", is_flag=True, help="With --probe: count the probes' own flows too.")
@common_options
@click.pass_context
def snapshot(
    context: click.Context,
    /,
    form: str | None,
    output: Path | None,
    flows: bool,
    every: float | None,
    count: int | None,
    probe: bool,
    own_flows: bool,
    **common: Any,
) -> None:
    """One reading, to stdout or to a file."""
    options, config = settled(Common(**common).over(context.obj))
    form = form or ("text" if output is None and sys.stdout.isatty() else "json")
    if probe:
        if every is not None or options.no_docker:
            raise click.UsageError(f"--probe does not go with {'--every' if every is not None else '--no-docker'}")
        write_snapshots(options, form, output, flows, _probed(count or 1, config.probe, own_flows))
        return
    if own_flows:
        raise click.UsageError("--own-flows goes with --probe")
    count = 1 if every is None and count is None else count
    write_snapshots(options, form, output, flows, _readings(every or options.interval_s, count))


def _readings(every_s: float, count: int | None) -> "Callable[[Source], Iterator[Snapshot]]":
    from natop import feed

    return lambda source: feed.readings(source, every_s, count)


def _probed(rounds: int, wanted: "Probes", counts_own: bool) -> "Callable[[Source], Iterator[Snapshot]]":
    from natop import feed

    return lambda source: iter([feed.probed(source, rounds, manners(wanted), counts_own=counts_own)])


@program.command()
@click.option("--for", "watch_s", type=WATCH, default=5.0, metavar="S", help="Seconds to watch for rates (5).")
@click.option("--format", "form", type=click.Choice(("text", "json", "md")), default="text", help="text.")
@click.option(
    "--check",
    is_flag=True,
    help="Exit status 1 where a finding of severity warning or worse stands, 3 where too little could be read to tell.",
)
@whole_host_options
@click.pass_context
def doctor(context: click.Context, /, watch_s: float, form: str, check: bool, **common: Any) -> None:
    """What is wrong, how natop knows, and what to do about it."""
    from natop import feed
    from natop.export import report

    options = settled(Common(**common).over(context.obj)).common
    try:
        with opened(None) as out:
            watched = feed.watched(source_of(options), watch_s, options.interval_s)
            unjudged = report.unjudged(watched.snapshot) if check else None
            if unjudged:
                raise Refused(Exit.UNREADABLE, unjudged)
            if form == "text":
                out.writelines(report.as_text(watched.snapshot, watched.seconds, room_of(out)))
            else:
                write = report.as_json if form == "json" else report.as_markdown
                out.writelines(write(watched.snapshot, watched.seconds))
    except feed.CannotRead as error:
        raise Refused(Exit.UNREADABLE, str(error)) from error
    if check and report.is_grave(watched.snapshot):
        raise click.exceptions.Exit(Exit.FINDINGS)


@program.command()
@click.argument("rule", required=False)
def explain(rule: str | None) -> None:
    """What a rule of the verdict means, how it decides, what it costs to fix; without RULE, the list of rules."""
    from natop.export import report

    with opened(None) as out:
        text = "".join(report.rule_list(room_of(out))) if rule is None else report.explanation(rule, room_of(out))
        if text is None:
            raise click.UsageError(f"no rule {rule!r}; `natop explain` lists them")
        out.write(text)


@program.command()
@click.argument("before")
@click.argument("after")
@click.option("--format", "form", type=click.Choice(("text", "json", "md")), default="text", help="text.")
@click.option("--all", "everything", is_flag=True, help="With what has not changed.")
@FILTER
@SORT
@click.pass_context
def diff(context: click.Context, /, before: str, after: str, form: str, everything: bool, **common: Any) -> None:
    """What differs between two snapshots in JSON: before and after a remedy, two hosts, two days.

    BEFORE and AFTER are files of `natop snapshot --format json`; one of them may be `-` for stdin. Of a file with
    several readings, the last is the state, and the rates are those of the whole file. --filter names containers;
    --sort goes by how much a number of theirs changed.
    """
    from natop.diff import document as diffdocument
    from natop.diff import report as diffreport
    from natop.diff.compare import compared

    view = view_of_diff(Common(**common).over(context.obj), everything)
    if before == after == STDIN:
        raise click.UsageError("only one of BEFORE and AFTER may be stdin")
    comparison = compared(side_from(before), side_from(after))
    with opened(None) as out:
        if form == "json":
            out.writelines(diffdocument.as_json(comparison, view))
        elif form == "md":
            out.writelines(diffreport.as_markdown(comparison, view))
        else:
            width = room_of(out)
            out.writelines(diffreport.as_text(comparison, view, width))


@program.command(cls=click.Command, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def demo(context: click.Context, /, command: tuple[str, ...]) -> None:
    """A small NAT host in private namespaces, with traffic, and natop (or natop COMMAND…) on it.

    Needs no root, no Docker and no network. A first word of `race`, `exhaustion` or `timewait` is a host in that
    trouble: SYNs lost to a race for a NAT port, a NAT pool filled to 99 %, thousands of harmless flows in TIME_WAIT.

    What natop prints there can be run in a shell on that host, opened from another terminal. As root, and else:

    \b
    nsenter -t $(pgrep -of natop.demo.host) -n
    nsenter -t $(pgrep -of natop.demo.host) -n -U --preserve-credentials
    """
    if any(given_before(context)):
        raise click.UsageError("options go behind `demo`: natop demo snapshot --filter …")
    from natop.demo.run import run

    scene, rest = (command[0], command[1:]) if command[:1] and command[0] in DEMO_SCENES else ("", command)
    raise click.exceptions.Exit(run(rest, tell=say, scene=scene))


@program.command()
@click.argument("targets", nargs=-1, metavar="TARGET…")
@click.option("--count", type=click.IntRange(1), default=5, metavar="N", help="Probe each N times (5).")
@click.option("--every", "every_s", type=Seconds(2, 86_400), metavar="S", help="Seconds between them, at least 2 (2).")
@click.option("--from", "sources", multiple=True, metavar="CONTAINER", help="Call from inside that container too.")
@click.option("--timeout", "timeout_s", type=Seconds(0.1, 120), metavar="S", help="Give up after S (10).")
@click.option("--polite", is_flag=True, help="Close with FIN, not RST: no line in servers' logs, but a TIME_WAIT here.")
@click.option("--format", "form", type=click.Choice(("text", "json")), default="text", help="text.")
@host_options
@click.pass_context
def probe(
    context: click.Context,
    /,
    targets: tuple[str, ...],
    count: int,
    every_s: float | None,
    sources: tuple[str, ...],
    timeout_s: float | None,
    polite: bool,
    form: str,
    **common: Any,
) -> None:
    """Timed connects to HOST:PORT, and how many SYNs were lost; http://HOST/PATH also asks twice for a page.

    With --from, the host and the containers call in the same second: what differs is the work of NAT. Without TARGET,
    those of the configuration file.
    """
    from natop import feed
    from natop.export import snapshots
    from natop.formats import many
    from natop.probing import BadTarget, parse_target

    options, config = settled(Common(**common).over(context.obj))
    known = config.probe
    if not (targets or known.targets):
        raise click.UsageError("Missing argument 'TARGET…'.")
    source = source_of(options)
    asked = manners(known, every_s, timeout_s, polite)
    try:
        wanted = [parse_target(text) for text in dict.fromkeys(targets or known.targets)]
        run = feed.ProbeRun(source, wanted, sources or known.sources, count, asked)
    except BadTarget as error:
        raise click.UsageError(str(error)) from error
    except feed.CannotRead as error:
        raise Refused(Exit.UNREADABLE, str(error)) from error
    if sys.stderr.isatty():
        say(
            f"{many(count, 'probe')} of each target, one every {asked.every_s:g} s; "
            "Ctrl+C shows what was measured until then"
        )
    with opened(None) as out:
        try:
            run.wait()
        finally:
            series = run.close()
            width = room_of(out)
            out.writelines(
                snapshots.probes_as_json(series) if form == "json" else snapshots.probes_as_text(series, width)
            )
            out.flush()
    if any(each.statistics.failed for each in series):
        raise click.exceptions.Exit(Exit.FINDINGS)
