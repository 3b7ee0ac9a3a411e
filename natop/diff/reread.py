"""Snapshots read back from files: the JSON of `document` as typed parts. Pure but for the stream it is given.

Files are anybody's. What a key holds must be of its kind; a key that is missing is unknown, and one that natop does not
compare is skipped without a trace, flows above all. Texts pass `text.clean`.
"""

import ipaddress
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, BinaryIO

import msgspec
from msgspec import Meta, Struct

from natop.export.document import SCHEMA
from natop.text import clean

MOST_BYTES = 1 << 29
"""Longest document, in bytes; 250,000 flows take 130 MB."""
EARLIEST, LATEST = 1970, 9998
"""Years of which every time zone can be told."""
MOST_TEXT = 1_024
"""Longest text kept, in characters: sentences of findings are longer than names."""

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Real = Annotated[float, Meta(ge=-1e15, le=1e15)]
Seconds = Annotated[float, Meta(ge=0, le=1e12)]
Moment = Annotated[datetime, Meta(tz=True)]


class Part(Struct, frozen=True, kw_only=True):
    """A JSON object; all its texts are harmless."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, str | list | tuple | dict):
                msgspec.structs.force_setattr(self, name, _cleaned(value))


def _cleaned(value: object) -> object:
    if isinstance(value, str):
        return clean(value, MOST_TEXT)
    if isinstance(value, list | tuple):
        return type(value)(map(_cleaned, value))
    return {_cleaned(key): _cleaned(each) for key, each in value.items()} if isinstance(value, dict) else value


class EnginePart(Part, frozen=True):
    version: str | None = None
    api_version: str | None = None
    rootless: bool | None = None
    userland_proxy: bool | None = None
    firewall_backend: str | None = None
    product: str | None = None


class TcpPart(Part, frozen=True):
    syn_retrans: Count | None = None
    retrans_segs: Count | None = None
    out_segs: Count | None = None
    attempt_fails: Count | None = None
    listen_overflows: Count | None = None
    listen_drops: Count | None = None
    timeouts: Count | None = None
    active_opens: Count | None = None
    passive_opens: Count | None = None
    time_wait_overflow: Count | None = None
    sockets_in_use: Count | None = None
    time_wait_sockets: Count | None = None
    rates: dict[str, Real | None] = {}
    """Per second; of the host only, containers have theirs beside the flows'."""


Sysctls = dict[str, Count | tuple[Count, ...]]


class HostPart(Part, frozen=True):
    hostname: str
    netns: str
    kernel: str | None = None
    boot_id: str | None = None
    docker: EnginePart | None = None
    sysctls: Sysctls = {}
    tcp: TcpPart | None = None


class TimeWaitPart(Part, frozen=True):
    steady_state: Real | None = None


class PortChoicePart(Part, frozen=True):
    kept_share: Real | None = None


class ConntrackPart(Part, frozen=True):
    count: Count | None = None
    max: Count | None = None
    flows: Count | None = None
    states: dict[str, Count] | None = None
    counters: dict[str, Count | None] = {}
    rates: dict[str, Real | None] = {}
    derived: dict[str, Real | None] = {}
    port_choice: PortChoicePart | None = None
    time_wait: TimeWaitPart | None = None


class PoolPart(Part, frozen=True):
    used: Count
    capacity: Count
    loss: Real | None = None


class NatPart(Part, frozen=True):
    rewritten_ports: Count | None = None
    busiest_pool: PoolPart | None = None


class FlowsPart(Part, frozen=True):
    total: Count
    inbound: Count | None = None
    outbound: Count | None = None


class AttachmentPart(Part, frozen=True):
    name: str
    driver: str | None = None
    ipv4: str | None = None
    ipv6: str | None = None

    def __post_init__(self) -> None:
        """Texts that are no addresses are refused: filters take them for numbers."""
        Part.__post_init__(self)
        for text in filter(None, (self.ipv4, self.ipv6)):
            ipaddress.ip_address(text)


class PublishedPart(Part, frozen=True):
    proto: str
    host_ip: str
    host_port: Count
    container_port: Count


class ProbePart(Part, frozen=True):
    target: str
    path: str
    at: Moment
    container: str | None = None
    connect_ms: Real | None = None
    syns_lost: Annotated[int, Meta(ge=0, le=255)] | None = None
    error: str | None = None
    subject: str = ""


class ContainerPart(Part, frozen=True):
    id: str
    name: str
    image: str = ""
    state: str = ""
    project: str | None = None
    service: str | None = None
    network_mode: str | None = None
    pid: Count | None = None
    networks: tuple[AttachmentPart, ...] = ()
    published: tuple[PublishedPart, ...] = ()
    flows: FlowsPart | None = None
    states: dict[str, Count] | None = None
    nat: NatPart | None = None
    own_table: Count | None = None
    tcp: TcpPart | None = None
    lost_syns_per_s: Real | None = None
    sysctls: Sysctls | None = None
    rates: dict[str, Real | None] = {}
    probes: tuple[ProbePart, ...] | None = None


class RulePart(Part, frozen=True):
    """As `model.NatRule`, whose fields it has."""

    backend: str
    chain: str
    priority: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
    action: str
    to_address: str | None = None
    ports: tuple[Count, Count] | None = None
    random: bool = False
    fully_random: bool = False
    text: str = ""


class NetworkNatPart(Part, frozen=True):
    name: str
    subnet: str
    internal: bool = False
    rule: RulePart | None = None
    udp_rule: RulePart | None = None


class NatRulesPart(Part, frozen=True):
    networks: tuple[NetworkNatPart, ...] = ()
    rules: tuple[RulePart, ...] = ()


class FindingPart(Part, frozen=True):
    rule: str
    severity: str
    subject: str
    summary: str


class GapPart(Part, frozen=True):
    source: str
    reason: str
    remedy: str | None = None


class UnownedPart(Part, frozen=True):
    flows: Count | None = None


class Document(Part, frozen=True):
    """What natop compares of a snapshot."""

    natop: str
    schema: int
    taken_at: Moment
    host: HostPart
    conntrack: ConntrackPart
    monotonic_s: Seconds | None = None
    interval_s: Seconds | None = None
    containers: tuple[ContainerPart, ...] | None = None
    unowned: UnownedPart | None = None
    nat_pools: tuple[PoolPart, ...] | None = None
    nat_rules: NatRulesPart | None = None
    probes: tuple[ProbePart, ...] | None = None
    findings: tuple[FindingPart, ...] | None = None
    gaps: tuple[GapPart, ...] = ()


class _Schema(Struct, frozen=True):
    schema: int


class NotASnapshot(Exception):
    """What was read is no snapshot; the message says why, in one line."""


class CutShort(NotASnapshot):
    """It begins like a snapshot, and ends too early."""


_BROKEN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_document, _schema = msgspec.json.Decoder(Document), msgspec.json.Decoder(_Schema)


def documents(file: BinaryIO) -> Iterator[Document]:
    """The snapshots of a file, one after the other: a document a line, or one over many lines.

    Raises NotASnapshot, of which CutShort means that those before were whole; and OSError.
    """
    first = True
    while line := file.readline(MOST_BYTES + 1):
        if line.isspace():
            continue
        if first and line.strip() == b"{":  # spread over lines, as by `jq .`
            line += file.read(MOST_BYTES)
        document, first = decoded(line), False
        del line  # a hundred megabytes, before the next
        yield document
    if first:
        raise NotASnapshot("it is empty")


def decoded(data: bytes) -> Document:
    """Raises NotASnapshot."""
    if len(data) > MOST_BYTES:
        raise NotASnapshot(f"a document of more than {MOST_BYTES:,} bytes is no snapshot of natop")
    try:
        document = _document.decode(data)
    except _BROKEN as error:
        raise _refusal(data, error) from error
    if document.schema != SCHEMA:
        raise _other_schema(document.schema)
    if not EARLIEST <= document.taken_at.year <= LATEST:
        raise NotASnapshot(f"it is no snapshot of natop: nobody took one in the year {document.taken_at.year}")
    return document


def _refusal(data: bytes, error: Exception) -> NotASnapshot:
    """Why it cannot be read; another schema is the best of reasons."""
    try:
        schema = _schema.decode(data).schema
        if schema != SCHEMA:
            return _other_schema(schema)
    except _BROKEN:
        pass
    reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
    kind = CutShort if "truncated" in reason else NotASnapshot
    return kind(f"it is no snapshot of natop: {_lowered(reason)}")


def _lowered(sentence: str) -> str:
    """JSON stays JSON."""
    return re.sub(r"^[A-Z](?=[a-z])", lambda letter: letter[0].lower(), sentence)


def _other_schema(schema: int) -> NotASnapshot:
    newer = "; a newer natop made it" if schema > SCHEMA else ""
    return NotASnapshot(f"it is of schema {schema:,}, and this natop reads schema {SCHEMA}{newer}")
