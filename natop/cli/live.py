"""The live view, started from the command line."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from natop.cli.options import Exit, Refused
from natop.cli.reading import check_engine, source_of, view_of
from natop.cli.settings import Settings, for_live_view, manners

if TYPE_CHECKING:
    from natop.config import Probes
    from natop.model import ProbeTarget, Snapshot
    from natop.tui.probechoice import ProbeChoice


def run_live_view(settings: Settings, ascii: bool) -> None:
    from natop.tui import terminal

    common, probes = for_live_view(settings), settings.config.probe
    if reason := terminal.refusal():
        raise Refused(Exit.USAGE, reason)
    check_engine(common)
    if common.filter or common.sort:
        view_of(common, flows=True)
    from natop.tui.app import NatopApp

    def open_feed(namespace: str | None) -> Any:
        from natop.feed import LiveFeed

        source = source_of(common)
        return LiveFeed(replace(source, netns=namespace) if namespace else source, common.interval_s, manners(probes))

    app = NatopApp(
        open_feed,
        interval_s=common.interval_s,
        filter_text=common.filter or "",
        sort=common.sort,
        save_dir=Path.cwd(),
        ascii=ascii or settings.config.ascii or terminal.needs_ascii(),
        save=save,
        probes=_chosen(probes),
    )
    app.run()
    raise click.exceptions.Exit(app.return_code or 0)


def _chosen(probes: "Probes") -> "ProbeChoice":
    """What the configuration file has probed from the start; it has been checked."""
    from natop.tui.probechoice import ProbeChoice

    targets: tuple[ProbeTarget, ...] = ()
    if probes.targets:
        from natop.probing import parse_target

        found = (parse_target(text) for text in dict.fromkeys(probes.targets))
        targets = tuple(replace(each, sources=probes.sources) for each in found)
    return ProbeChoice(probes.published or bool(targets), probes.published, targets, probes.sources)


def save(taken: "Snapshot", directory: Path) -> tuple[Path, ...]:
    """A ticket in Markdown and the snapshot as JSON, named for the host and the time. Raises OSError."""
    from natop.export import snapshots
    from natop.files import unused, write_whole

    stem = snapshots.file_stem(taken)
    markdown, document = unused(directory / f"{stem}.md"), unused(directory / f"{stem}.json")
    write_whole(markdown, snapshots.as_markdown(taken, snapshots.View()))
    write_whole(document, snapshots.as_json(taken, snapshots.View()))
    return markdown, document
