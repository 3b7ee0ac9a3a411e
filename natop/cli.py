"""The command line: arguments to the live view or to a subcommand. The only place that prints, and exits.

Only click is imported here; everything else is loaded once the command is known, so that each command starts fast.
"""

import io
import math
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, TypeVar

import click

from natop import __version__

if TYPE_CHECKING:
    from natop.export import View
    from natop.feed import Source
    from natop.model import Snapshot

F = TypeVar("F", bound=Callable[..., Any])


class Exit(IntEnum):
    """Exit status; the numbers are an interface."""

    OK = 0
    FINDINGS = 1
    USAGE = 2
    UNREADABLE = 3
    INTERRUPTED = 130


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

    def over(self, others: "Common | None") -> "Common":
        """These options, and the others' where these are not given."""
        mine = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(others or Common(), **{name: value for name, value in mine.items() if value is not None})

    @property
    def interval_s(self) -> float:
        return DEFAULT_INTERVAL_S if self.interval is None else self.interval


DEFAULT_INTERVAL_S = 2.0


class _Seconds(click.FloatRange):
    """NaN compares with no bound, and so would pass."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value} is not a number of seconds.", param, ctx)
        return seconds


_INTERVAL = _Seconds(0.5, 60)
_EVERY = _Seconds(0.5, 86_400)
_COMMON_OPTIONS = (
    click.option("--interval", type=_INTERVAL, metavar="S", help="Seconds between readings, 0.5 to 60 (2)."),
    click.option("--filter", metavar="EXPR", help="Only what matches, as 'state:time_wait dport:443'."),
    click.option("--sort", metavar="COLUMN", help="Sort by this column; -COLUMN the other way round."),
    click.option("--context", "docker_context", metavar="NAME", help="Docker context to ask."),
    click.option("--docker-host", metavar="URL", help="Docker Engine to ask, as unix:///run/docker.sock."),
    click.option("--no-docker", is_flag=True, default=None, help="Leave Docker out; flows by address."),
    click.option("--netns", metavar="NAME|PATH|PID", help="Read that network namespace."),
)


def common_options(command: F) -> F:
    for option in reversed(_COMMON_OPTIONS):
        command = option(command)
    return command


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", message="natop %(version)s")
@click.option("-b", "--batch", is_flag=True, help="Batch: text tables, one after the other, as top -b.")
@click.option("-n", "batch_count", type=click.IntRange(1), metavar="COUNT", help="Batch: end after so many.")
@click.option("-d", "batch_every", type=_INTERVAL, metavar="S", help="Batch: seconds between them.")
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
    context.obj = Common(**common)
    if not batch and (batch_count or batch_every):
        raise click.UsageError("-n and -d go with -b")
    if batch and context.invoked_subcommand:
        raise click.UsageError("-b goes without a command")
    if context.invoked_subcommand is None:
        if batch:
            every_s = batch_every or context.obj.interval_s
            _write_snapshots(context.obj, "text", None, False, _readings(every_s, batch_count))
        else:
            _live(context.obj, ascii)


FORMATS = ("json", "csv", "md", "text")
DEMO_SCENES = ("race", "exhaustion", "timewait")
"""`demo.plan.SCENES`, named here so that the command starts without loading the demo."""


@program.command()
@click.option("--format", "form", type=click.Choice(FORMATS), help="json when piped, text on a terminal.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write to FILE.")
@click.option("--flows", is_flag=True, help="With every flow.")
@click.option("--every", type=_EVERY, metavar="S", help="Repeat every S seconds; JSON is then a document a line.")
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
    options = Common(**common).over(context.obj)
    form = form or ("text" if output is None and sys.stdout.isatty() else "json")
    if probe:
        if every is not None or options.no_docker:
            raise click.UsageError(f"--probe does not go with {'--every' if every is not None else '--no-docker'}")
        _write_snapshots(options, form, output, flows, _probed(count or 1, own_flows))
        return
    if own_flows:
        raise click.UsageError("--own-flows goes with --probe")
    count = 1 if every is None and count is None else count
    _write_snapshots(options, form, output, flows, _readings(every or options.interval_s, count))


def _readings(every_s: float, count: int | None) -> "Callable[[Source], Iterator[Snapshot]]":
    from natop import feed

    return lambda source: feed.readings(source, every_s, count)


def _probed(rounds: int, counts_own: bool) -> "Callable[[Source], Iterator[Snapshot]]":
    from natop import feed

    return lambda source: iter([feed.probed(source, rounds, counts_own=counts_own)])


@program.command()
@click.option("--for", "watch_s", type=_EVERY, default=5.0, metavar="S", help="Seconds to watch for rates (5).")
@click.option("--format", "form", type=click.Choice(("text", "json", "md")), default="text", help="text.")
@click.option("--check", is_flag=True, help="Exit status 1 where a finding of severity warning or worse stands.")
@common_options
@click.pass_context
def doctor(context: click.Context, /, watch_s: float, form: str, check: bool, **common: Any) -> None:
    """What is wrong, how natop knows, and what to do about it."""
    from natop import feed, report

    options = Common(**common).over(context.obj)
    write = {"text": report.as_text, "json": report.as_json, "md": report.as_markdown}[form]
    try:
        with _opened(None) as out:
            watched = feed.watched(_source(options), watch_s, options.interval_s)
            out.writelines(write(watched.snapshot, watched.seconds))
            out.flush()
    except feed.CannotRead as error:
        raise Refused(Exit.UNREADABLE, str(error)) from error
    if check and report.is_grave(watched.snapshot):
        raise click.exceptions.Exit(Exit.FINDINGS)


@program.command()
@click.argument("rule", required=False)
def explain(rule: str | None) -> None:
    """What a rule of the verdict means, how it decides, what it costs to fix; without RULE, the list of rules."""
    from natop import report

    text = "".join(report.rule_list()) if rule is None else report.explanation(rule)
    if text is None:
        raise click.UsageError(f"no rule {rule!r}; `natop explain` lists them")
    _stdout().write(text)


@program.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def demo(context: click.Context, /, command: tuple[str, ...]) -> None:
    """A small NAT host in private namespaces, with traffic, and natop (or natop COMMAND…) on it.

    Needs no root, no Docker and no network. A first word of `race`, `exhaustion` or `timewait` is a host in that
    trouble: SYNs lost to a race for a NAT port, a NAT pool filled to 99 %, thousands of harmless flows in TIME_WAIT.
    """
    if context.obj != Common():
        raise click.UsageError("options go behind `demo`: natop demo snapshot --filter …")
    from natop.demo.run import run

    scene, rest = (command[0], command[1:]) if command[:1] and command[0] in DEMO_SCENES else ("", command)
    raise click.exceptions.Exit(run(rest, tell=_say, scene=scene))


@program.command()
@click.argument("targets", nargs=-1, required=True, metavar="TARGET…")
@click.option("--count", type=click.IntRange(1), default=5, metavar="N", help="Probe each N times (5).")
@click.option(
    "--every", type=_Seconds(2, 86_400), default=2.0, metavar="S", help="Seconds between them, at least 2 (2)."
)
@click.option("--from", "sources", multiple=True, metavar="CONTAINER", help="Call from inside that container too.")
@click.option(
    "--timeout", "timeout_s", type=_Seconds(0.1, 120), default=10.0, metavar="S", help="Give up after S (10)."
)
@click.option("--polite", is_flag=True, help="Close with FIN, not RST: no line in servers' logs, but a TIME_WAIT here.")
@click.option("--format", "form", type=click.Choice(("text", "json")), default="text", help="text.")
@common_options
@click.pass_context
def probe(
    context: click.Context,
    /,
    targets: tuple[str, ...],
    count: int,
    every: float,
    sources: tuple[str, ...],
    timeout_s: float,
    polite: bool,
    form: str,
    **common: Any,
) -> None:
    """Timed connects to HOST:PORT, and how many SYNs were lost; http://HOST/PATH also asks twice for a page.

    With --from, the host and the containers call in the same second: what differs is the work of NAT.
    """
    from natop import export, feed
    from natop.collect.prober import Manners
    from natop.probing import BadTarget, parse_target

    source = _source(Common(**common).over(context.obj))
    try:
        wanted = [parse_target(text) for text in dict.fromkeys(targets)]
        run = feed.ProbeRun(source, wanted, sources, count, Manners(every, timeout_s, polite))
    except BadTarget as error:
        raise click.UsageError(str(error)) from error
    except feed.CannotRead as error:
        raise Refused(Exit.UNREADABLE, str(error)) from error
    if sys.stderr.isatty():
        _say(f"{count} probes of each target, one every {every:g} s; Ctrl+C shows what was measured until then")
    with _opened(None) as out:
        try:
            run.wait()
        finally:
            series = run.close()
            width = shutil.get_terminal_size().columns if out.isatty() else None
            out.writelines(export.probes_as_json(series) if form == "json" else export.probes_as_text(series, width))
            out.flush()
    if any(each.statistics.failed for each in series):
        raise click.exceptions.Exit(Exit.FINDINGS)


def _write_snapshots(
    common: Common, form: str, output: Path | None, flows: bool, read: "Callable[[Source], Iterator[Snapshot]]"
) -> None:
    from natop import feed

    view = _view(common, flows)
    try:
        with _opened(output) as out:
            for number, taken in enumerate(read(_source(common))):
                if flows and (taken.reading is None or taken.reading.taken_at != taken.taken_at):
                    raise Refused(Exit.UNREADABLE, _why_no_flows(taken))
                width = shutil.get_terminal_size().columns if out.isatty() else None
                _write_one(out, _pieces(taken, view, form, number, width), whole=output is not None)
    except feed.CannotRead as error:
        raise Refused(Exit.UNREADABLE, str(error)) from error


def _write_one(out: TextIO, pieces: Iterator[str], *, whole: bool) -> None:
    """One snapshot; with `whole`, none of it where it is interrupted half way."""
    start = out.tell() if whole and out.seekable() else None
    try:
        out.writelines(pieces)
        out.flush()
    except (KeyboardInterrupt, SystemExit):
        if start is not None:
            out.seek(start)
            out.truncate()
        raise


@contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    """Where snapshots go. Ctrl+C, SIGTERM and SIGHUP end them; a file keeps what was read until then.

    A reader that goes away ends them as SIGPIPE would; left to click, the status would be that of findings.
    """
    from natop.files import written_whole

    interrupted: KeyboardInterrupt | SystemExit | None = None
    target: AbstractContextManager[TextIO] = written_whole(output) if output else nullcontext(_stdout())
    with target as out:
        try:
            yield out
        except (KeyboardInterrupt, SystemExit) as interrupt:
            interrupted = interrupt
        except BrokenPipeError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(128 + signal.SIGPIPE) from error
    if interrupted:
        raise interrupted


def _stdout() -> TextIO:
    """stdout, in UTF-8 for programs; a terminal of another encoding shows `?` for what it does not have."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding=_terminal_encoding() if sys.stdout.isatty() else "utf-8", errors="replace")
    return sys.stdout


def _terminal_encoding() -> str | None:
    """ASCII where Python writes UTF-8 against the user's locale, else None: what Python chose."""
    from natop.charset import is_utf8, started_with

    return "ascii" if sys.stdout.encoding.lower() == "utf-8" and not is_utf8(started_with()) else None


def _pieces(taken: "Snapshot", view: "View", form: str, number: int, width: int | None) -> Iterator[str]:
    """The number-th snapshot in one of FORMATS, tables of text at most `width` cells wide."""
    from natop import export

    if form == "json":
        yield from export.as_json(taken, view)
    elif form == "csv":
        yield from export.as_csv(taken, view, header=number == 0)
    else:
        if number:
            yield "\n"
        yield from export.as_markdown(taken, view) if form == "md" else export.as_text(taken, view, width)


def _why_no_flows(taken: "Snapshot") -> str:
    lines = [gap.told() for gap in taken.gaps if gap.source == "flows"]
    return "\n".join(lines[:3]) or "the flows could not be read"


def _source(common: Common) -> "Source":
    from natop.collect.engine import Target
    from natop.feed import Source

    if common.no_docker and (common.docker_host or common.docker_context):
        raise click.UsageError("--no-docker does not go with --docker-host or --context")
    if common.docker_host and common.docker_context:
        raise click.UsageError("give --docker-host or --context, not both")
    return Source(common.netns, None if common.no_docker else Target(common.docker_host, common.docker_context))


def _view(common: Common, flows: bool) -> "View":
    from natop import export

    keys = export.sort_keys(flows)
    if common.sort and common.sort.removeprefix("-") not in keys:
        raise click.UsageError(f"no column {common.sort!r}; there are {' '.join(dict.fromkeys(keys))}")
    if not common.filter:
        return export.View(None, common.sort, flows)
    from natop.filters import FilterError, parse

    try:
        return export.View(parse(common.filter), common.sort, flows)
    except FilterError as error:
        raise Refused(Exit.USAGE, f"--filter cannot be read\n{error.pointer()}") from error


def _live(common: Common, ascii: bool) -> None:
    from natop.tui import terminal

    if reason := terminal.refusal():
        raise Refused(Exit.USAGE, reason)
    if common.filter or common.sort:
        _view(common, flows=True)
    from natop.tui.app import NatopApp

    def open_feed(namespace: str | None) -> Any:
        from natop.feed import LiveFeed

        source = _source(common)
        return LiveFeed(replace(source, netns=namespace) if namespace else source, common.interval_s)

    app = NatopApp(
        open_feed,
        interval_s=common.interval_s,
        filter_text=common.filter or "",
        sort=common.sort,
        save_dir=Path.cwd(),
        ascii=ascii or terminal.needs_ascii(),
        save=_save,
    )
    app.run()
    raise click.exceptions.Exit(app.return_code or 0)


def _save(taken: "Snapshot", directory: Path) -> tuple[Path, ...]:
    """A ticket in Markdown and the snapshot as JSON, named for the host and the time. Raises OSError."""
    from natop import export
    from natop.files import unused, write_whole

    stem = export.file_stem(taken)
    markdown, document = unused(directory / f"{stem}.md"), unused(directory / f"{stem}.json")
    write_whole(markdown, export.as_markdown(taken, export.View()))
    write_whole(document, export.as_json(taken, export.View()))
    return markdown, document


def _say(message: str) -> None:
    from natop.text import clean

    lines = (clean(line) for line in message.split("\n"))
    print("natop: " + "\n".join(lines), file=sys.stderr)


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    """Unwind on SIGTERM and SIGHUP, so that nothing is lost or left half-written."""
    raise SystemExit(128 + number)


def _run(arguments: list[str] | None) -> int:
    try:
        status = program.main(arguments, "natop", standalone_mode=False)
    except Refused as refusal:
        _say(str(refusal))
        return refusal.status
    except click.UsageError as error:
        where = f" {error.ctx.info_name}" if error.ctx and error.ctx.parent else ""
        _say(f"{error.format_message()}\ntry: natop{where} --help")
        return Exit.USAGE
    except click.ClickException as error:
        _say(error.format_message())
        return Exit.USAGE
    except (KeyboardInterrupt, click.Abort):
        return Exit.INTERRUPTED
    except OSError as error:
        _say(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return Exit.UNREADABLE
    return status if isinstance(status, int) else Exit.OK


def main(arguments: list[str] | None = None) -> NoReturn:
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGHUP, _terminate)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  # None where descriptor 1 is closed
    sys.exit(_run(arguments))
