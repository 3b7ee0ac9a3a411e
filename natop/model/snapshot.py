"""Everything known about one host at one instant."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from natop.model.docker import Inventory
from natop.model.flows import FlowTable, Skipped
from natop.model.history import History
from natop.model.kernel import NOTHING_DERIVED, Conntrack, Derived, Firewall, NetnsTcp, Version, kernel_version
from natop.model.marks import Mark
from natop.model.numbers import Attribution, ContainerSummary, FlowFacts, FlowSummary, NatPools, PortChoice, TimeWait
from natop.model.probes import OwnFlow, ProbeSeries
from natop.model.sample import Gap, GapSource, Pace


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network namespace that natop can read instead of the host's."""

    name: str
    """Of the container it is of, or of its file: ingress_sbox, a name of `ip netns`."""
    path: str


@dataclass(frozen=True, slots=True)
class HostFacts:
    hostname: str
    kernel: str | None
    netns: str
    sysctls: Mapping[str, int | tuple[int, ...]] = field(default_factory=dict)
    """By their last name component, as `nf_conntrack_max`."""
    boot_id: str | None = None
    """The same as long as the machine runs: what tells whether counters of two snapshots may be compared."""
    entered: str | None = None
    """The file of the network namespace where it is not natop's own: commands are to be run inside it."""
    addresses: tuple[str, ...] | None = None
    """Of the network namespace read; None where they were not told."""

    @property
    def version(self) -> Version | None:
        """The kernel's, to compare with."""
        return kernel_version(self.kernel)


@dataclass(frozen=True, slots=True)
class FlowReading:
    """A dump: its flows, whose they are, and when it was taken."""

    flows: FlowTable
    attribution: Attribution
    """Its indices are those of the snapshot's own inventory."""
    taken_at: float
    monotonic_s: float
    skipped: Skipped
    counters: Mapping[str, int] = field(default_factory=dict)
    """Conntrack's when it was taken, as in `Conntrack`."""
    own: frozenset[OwnFlow] = frozenset()
    """natop's own connections that the dump held and `flows` is without."""
    waiting: frozenset[OwnFlow] = frozenset()
    """Those of `own` that had no answer yet."""


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """The graver, the higher."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Snippet:
    """Lines to be written somewhere, whole as they are: into a file, or behind a command's name."""

    place: str
    """As `compose.yaml` or `/etc/sysctl.d/zz-natop.conf`."""
    text: str
    """Without a line end at its end."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """What would help, and the commands that do it, never run by natop."""

    text: str
    commands: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    cost: str | None = None
    """What else it changes."""
    check: str | None = None
    """How to see that it worked."""
    snippets: tuple[Snippet, ...] = ()
    """What is to be written: instead of commands, or beside them so that it lasts."""
    undo_text: str | None = None
    """The way back where no command is it, or not the whole of it."""

    @property
    def words(self) -> tuple[tuple[str, str], ...]:
        """What is said of it beside commands and lines to be written, each with its label."""
        undo = "and then" if self.undo else "undo"
        said = ((undo, self.undo_text), ("costs", self.cost), ("check", self.check))
        return tuple((label, text) for label, text in said if text)


@dataclass(frozen=True, slots=True)
class Lead:
    """Where to look at what a finding is about."""

    view: str
    """Name of a view: containers, flows, pools, counters."""
    scope: str | None = None
    """A container's id."""
    filter: str = ""
    """A filter expression."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth knowing, with the numbers that say so and what to do."""

    rule: str
    severity: Severity
    subject: str
    """What it is about: a container's name, a pool, the host."""
    summary: str
    """One sentence with its number."""
    evidence: tuple[str, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    lead: Lead | None = None
    lost: int = 0
    """First packets of new connections that it accounts for, in the time watched: among equals, what tells of more
    comes first."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything known about one host at one instant."""

    taken_at: float
    monotonic_s: float
    interval_s: float | None
    """Since the snapshot before; None on the first."""
    host: HostFacts
    inventory: Inventory | None
    conntrack: Conntrack
    counter_rates: Mapping[str, float] | None
    """Per second since the snapshot before, by COUNTER_NAMES."""
    reading: FlowReading | None
    """The last dump that succeeded; older than the snapshot where none was due at this tick."""
    whole: FlowSummary | None
    """All flows of the table."""
    containers: tuple[ContainerSummary, ...]
    """In the order of the inventory."""
    unowned: FlowSummary | None
    """The flows of the host itself and those nobody owns."""
    pace: Pace | None = None
    gaps: tuple[Gap, ...] = ()
    former: Mapping[str, str] = field(default_factory=dict)
    """Names of containers that are gone, by the address each had."""
    namespaces: tuple[Namespace, ...] = ()
    cpu_rates: tuple[Mapping[str, float], ...] = ()
    """Per second since the snapshot before, one for each CPU in `Conntrack.cpus`; empty on a first reading."""
    derived: Derived = NOTHING_DERIVED
    unclaimed: tuple[tuple[float, float], ...] = ()
    """Insertions that failed of late, (monotonic_s, how many), whose SYNs were not seen sent again yet."""
    tcp: NetnsTcp | None = None
    """Of the namespace read itself: the host's."""
    pools: NatPools | None = None
    """Of the last dump."""
    port_choice: PortChoice | None = None
    time_wait: TimeWait | None = None
    """Of the whole table."""
    unowned_time_wait: TimeWait | None = None
    """Of the flows of the host itself and those nobody owns."""
    firewall: Firewall | None = None
    """None where no tool told the rules; a gap says why."""
    probes: tuple[ProbeSeries, ...] | None = None
    """The last probes by each way, by target; None where nobody has asked for any yet."""
    is_probing: bool = False
    """Whether more are to come."""
    facts: FlowFacts | None = None
    """Of the last dump."""
    marks: tuple[Mark, ...] = ()
    """Of the snapshots of the last minute, oldest first, this one's last."""
    findings: tuple[Finding, ...] | None = None
    """Gravest first; None where they were not judged."""
    history: History = field(default_factory=History)
    """The numbers of the last minutes, this snapshot's among them."""

    def gaps_of(self, source: GapSource) -> tuple[Gap, ...]:
        """Why what this source tells is not known; empty where it told it."""
        return tuple(gap for gap in self.gaps if gap.source == source)
