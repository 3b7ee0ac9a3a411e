"""A comparison in sections, each of sentences and a table: what `diffreport` writes as text or Markdown."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from natop.columns.ordering import rows_by, sort_column
from natop.diff.change import Change, Measure, Unit, Verdict, per_minute
from natop.diff.compare import Comparison
from natop.diff.matching import ContainerChange, Fact, Fate, WayChange
from natop.diff.measures import CONTAINER_MEASURES, WAY_MEASURES
from natop.diff.sides import Side
from natop.formats import UNKNOWN, count, many, timestamp

if TYPE_CHECKING:
    from natop.columns.filters import Filter


@dataclass(frozen=True, slots=True)
class View:
    """What of a comparison is wanted, in which order."""

    filter: "Filter | None" = None
    """Which containers."""
    sort: str | None = None
    """One of SORT_KEYS, with `-` before it the other way round: by how much it changed, or by name."""
    all: bool = False
    """With what has not changed."""

    def containers(self, comparison: Comparison) -> list[ContainerChange]:
        """Those that match, foremost changes first where no other order is asked for."""
        wanted = self.filter
        rows = [each for each in comparison.containers if wanted is None or wanted.container(each.container())]
        if sorted_by := sort_column(_SORTABLE, self.sort):
            column, descending = sorted_by
            return rows_by(rows, lambda row: column.order(row), lambda row: row.name, descending)
        return rows


@dataclass(frozen=True, slots=True)
class _Sortable:
    key: str
    numeric: bool
    order: Callable[[ContainerChange], int | float | str | None]


def _difference(key: str) -> Callable[[ContainerChange], int | float | str | None]:
    return lambda row: next(each.difference for each in row.changes if each.measure.key == key)


_SORTABLE = (
    _Sortable("name", False, lambda row: row.name),
    *(_Sortable(each.key, True, _difference(each.key)) for each in CONTAINER_MEASURES),
)
SORT_KEYS = tuple(each.key for each in _SORTABLE)
"""What `View.sort` may name."""


@dataclass(frozen=True, slots=True)
class Column:
    """Of a table."""

    title: str
    numeric: bool
    rank: int


@dataclass(frozen=True, slots=True)
class Section:
    """Sentences with a word before each, a table, and sentences about what the table is without."""

    title: str
    sentences: tuple[tuple[str, str], ...] = ()
    columns: tuple[Column, ...] = ()
    cells: tuple[tuple[str, ...], ...] = ()
    below: tuple[tuple[str, str], ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.sentences or self.cells or self.below)


def sections(comparison: Comparison, view: View, arrow: str) -> Iterator[Section]:
    """Those that have something to tell; `arrow` stands between before and after."""
    rows = view.containers(comparison)
    parts = (
        _findings(comparison, arrow),
        _facts(comparison, arrow),
        _host(comparison, view),
        _containers(rows, view, arrow),
        _ways(comparison, view, arrow),
        _blind(comparison),
    )
    yield Section("", tuple(_head(comparison)))
    yield from (part for part in parts if not part.is_empty)


def _head(comparison: Comparison) -> Iterator[tuple[str, str]]:
    yield "before", _side(comparison.before)
    yield "after", _side(comparison.after)
    way = "earlier" if comparison.elapsed_s < 0 else "later"
    same = ", same boot and network namespace" if comparison.same_boot else ""
    yield "", f"{duration(abs(comparison.elapsed_s))} {way}{same}"
    for note in comparison.notes:
        yield "note", note
    if is_unchanged(comparison):
        yield "", "nothing changed"


def is_unchanged(comparison: Comparison) -> bool:
    """Whether there is nothing to tell but what neither side knows."""
    return not (
        any(each.is_told for each in comparison.facts)
        or any(each.is_told for each in comparison.host)
        or any(each.is_told for each in comparison.containers)
        or any(change.is_told for way in comparison.ways for change in way.changes)
        or any(each.fate is not Fate.STAYED for each in comparison.findings)
        or any(comparison.rules or ())
    )


def _side(side: Side) -> str:
    taken = timestamp(side.state.taken_at.timestamp())
    over = many(side.readings, "reading")
    over += f" over {duration(side.rated_s)}" if side.rated_s else ""
    return f"{taken}  {side.state.host.hostname}  {over}  {side.name}"


def duration(seconds: float) -> str:
    """As `30 min`, with what is worth telling beside it: `1 h 5 min`, `4 s`."""
    whole = round(seconds)
    days, hours, minutes = whole // 86_400, whole // 3_600 % 24, whole // 60 % 60
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (whole % 60, "s")]
    told = [f"{number:,} {unit}" for number, unit in parts if number]
    return " ".join(told[:2]) or "0 s"


# What is no number


_WORDS = {Fate.STAYED: "still", Fate.UNKNOWN: "not judged"}


def _findings(comparison: Comparison, arrow: str) -> Section:
    told = []
    for each in comparison.findings:
        severities = dict.fromkeys(part.severity.upper() for part in (each.before, each.after) if part)
        word = _WORDS.get(each.fate, str(each.fate))
        if each.fate is Fate.UNKNOWN:
            word += " before" if each.before is None else " after"
        part = each.part
        told.append((word, f"{f' {arrow} '.join(severities)} {part.rule} {part.subject}: {part.summary}"))
    return Section("FINDINGS", tuple(told))


def _facts(comparison: Comparison, arrow: str) -> Section:
    told = [(each.title, _fact(each, arrow)) for each in comparison.facts if each.is_told]
    gone, new = comparison.rules or ((), ())
    told += [("rule gone", rule) for rule in gone] + [("rule new", rule) for rule in new]
    return Section("CHANGED", tuple(told))


def _fact(fact: Fact, arrow: str) -> str:
    return f"{fact.before or UNKNOWN} {arrow} {fact.after or UNKNOWN}"


def _blind(comparison: Comparison) -> Section:
    """What one side could not see; what neither could is told once."""
    told: dict[str, list[str]] = {}
    for side, gap in comparison.gaps:
        told.setdefault(f"{gap.source}: {gap.reason}", []).append(side)
    sentences = [(" and ".join(dict.fromkeys(sides)), reason) for reason, sides in told.items()]
    return Section("NOT READ", tuple(sentences))


# The host's numbers


_HOST_COLUMNS = (
    Column("HOST", False, 0),
    Column("BEFORE", True, 0),
    Column("AFTER", True, 0),
    Column("CHANGE", True, 1),
    Column("", False, 1),
    Column("ROSE BY", True, 2),
)
_ROSE = 5
"""The column of rises, which are of counters of the same boot."""


def _host(comparison: Comparison, view: View) -> Section:
    shown = [each for each in comparison.host if view.all or each.is_told]
    folded = [each for each in comparison.host if not (view.all or each.is_told)]
    rows = [_host_row(each, comparison.elapsed_s) for each in shown]
    wide = len(_HOST_COLUMNS) if any(row[_ROSE] for row in rows) else _ROSE
    below = [
        ("unchanged", [each for each in folded if each.verdict is Verdict.SAME]),
        ("not risen in between", [each for each in folded if each.verdict is Verdict.UNKNOWN and each.rise == 0]),
        ("unknown on both sides", [each for each in folded if each.is_blank and each.rise is None]),
        ("0 on one side, unknown on the other", [each for each in folded if each.is_half and each.rise is None]),
    ]
    told = tuple((word, _titles(some)) for word, some in below if some)
    return Section("", (), _HOST_COLUMNS[:wide], tuple(row[:wide] for row in rows), told)


def _titles(changes: Sequence[Change]) -> str:
    """The numbers that people come for by name, the others by how many there are."""
    names = [each.measure.title for each in changes if each.measure.rank == 0]
    others = len(changes) - len(names)
    more = [many(others, "other")] if others and names else []
    return ", ".join([*names, *more]) or many(others, "number")


def _host_row(change: Change, elapsed_s: float) -> tuple[str, ...]:
    unit, difference = change.measure.unit, change.difference
    word = change.verdict if change.verdict in (Verdict.WORSE, Verdict.BETTER) else ""
    return (
        change.measure.title,
        _number(change.before, unit),
        _number(change.after, unit),
        UNKNOWN if difference is None else unit.signed(difference) if change.verdict is not Verdict.SAME else "",
        str(word),
        "" if change.rise is None else _rise(change.rise, elapsed_s),
    )


def _number(value: float | None, unit: Unit) -> str:
    return UNKNOWN if value is None else unit.told(value)


def _rise(rise: int, elapsed_s: float) -> str:
    """As `+615 (20/min)`."""
    return f"+{rise:,} ({per_minute(60 * rise / abs(elapsed_s))})" if elapsed_s else f"+{rise:,}"


# Containers and probed ways


def _containers(rows: Sequence[ContainerChange], view: View, arrow: str) -> Section:
    paired = [each for each in rows if each.before and each.after]
    shown = [each for each in paired if view.all or each.is_told]
    columns, cells = _table("CONTAINER", CONTAINER_MEASURES, [(each.name, each.changes) for each in shown], arrow)
    return Section("", (), columns, cells, tuple(_below_containers(rows, shown, view, arrow)))


def _below_containers(
    rows: Sequence[ContainerChange], shown: Sequence[ContainerChange], view: View, arrow: str
) -> Iterator[tuple[str, str]]:
    """Facts of those shown; who came and went; how many are as they were."""
    alike: dict[str, list[str]] = {}
    for each in shown:
        facts = [_FATES[each.fate]] if each.fate is not Fate.STAYED else []
        facts += [f"{fact.title} {_fact(fact, arrow)}" for fact in each.facts if fact.is_told]
        for fact in facts:
            alike.setdefault(fact, []).append(each.name)
    for fact, names in alike.items():
        yield "", f"{', '.join(names)}: {fact}"
    for fate in (Fate.GONE, Fate.NEW, Fate.UNKNOWN):
        some = [_alone(each) for each in rows if each.fate is fate and not (each.before and each.after)]
        if some:
            yield "", f"{_FATES[fate]}: {', '.join(some)}"
    quiet = [each for each in rows if each.before and each.after and not (view.all or each.is_told)]
    if quiet:
        blank = sum(each.is_blank for each in quiet)
        known = "" if not blank else f"; nothing is known of {count(blank)} of them"
        known = ", of which nothing is known" if blank == len(quiet) else known
        yield "", f"{many(len(quiet), 'container')} unchanged{known}"


_FATES = {
    Fate.RESTARTED: "restarted",
    Fate.RECREATED: "recreated",
    Fate.NAMESAKE: "another of that name",
    Fate.GONE: "gone",
    Fate.NEW: "new",
    Fate.UNKNOWN: "on one side only, the other could not tell",
}


def _alone(container: ContainerChange) -> str:
    flows = container.part.flows
    return container.name if flows is None else f"{container.name} ({many(flows.total, 'flow')})"


def _ways(comparison: Comparison, view: View, arrow: str) -> Section:
    def is_told(way: WayChange) -> bool:
        return view.all or any(each.is_told for each in way.changes)

    shown = [way for way in comparison.ways if is_told(way)]
    columns, cells = _table("PROBED", WAY_MEASURES, [(each.name, each.changes) for each in shown], arrow)
    quiet = len(comparison.ways) - len(shown)
    below = (("", f"{many(quiet, 'probed way')} unchanged"),) if quiet else ()
    return Section("", (), columns, cells, below)


def _table(
    title: str, measures: Sequence[Measure[Any]], rows: Sequence[tuple[str, Sequence[Change]]], arrow: str
) -> tuple[tuple[Column, ...], tuple[tuple[str, ...], ...]]:
    """A line for each row, a column for each number that tells something of one of them."""
    told = [index for index in range(len(measures)) if any(changes[index].is_told for _, changes in rows)]
    if not told:
        return (Column(title, False, 0),), tuple((name,) for name, _ in rows)
    columns = [Column(_title(measures[index]), True, 1 + measures[index].rank) for index in told]
    cells = tuple((name, *(_cell(changes[index], arrow) for index in told)) for name, changes in rows)
    return (Column(title, False, 0), *columns), cells


_SUFFIXES = {Unit.PER_MINUTE: "/min", Unit.PER_SECOND: "/s", Unit.MILLISECONDS: " ms"}


def _title(measure: Measure[Any]) -> str:
    return measure.title + _SUFFIXES.get(measure.unit, "")


def _cell(change: Change, arrow: str) -> str:
    """As `41 -> 0`, once where both are alike; the unit is in the title. A rise stands where rates are unknown."""
    unit = change.measure.unit
    before, after = (
        _number(value, unit).removesuffix(_SUFFIXES.get(unit, "")).removesuffix(" %")
        for value in (change.before, change.after)
    )
    told = before if before == after else f"{before} {arrow} {after}"
    return f"{told} (+{change.rise:,})" if change.verdict is Verdict.UNKNOWN and change.rise else told
