"""Kernel parameters as the JSON document judges them: beside each value its default, and what it means here."""

from collections.abc import Mapping

from natop import sysctls
from natop.columns.containers import ContainerRow
from natop.export import Json
from natop.model import Snapshot
from natop.sysctls import About, Value


def host_judged(snapshot: Snapshot) -> Json:
    """The host's, by name."""
    host = snapshot.host
    return _judged(host.sysctls, About(host.version, host.sysctls, snapshot.conntrack.count))


def own_sysctls(row: ContainerRow, snapshot: Snapshot) -> tuple[Json | None, Json | None]:
    """A container's that are not as the host's, and what they mean there; None where they were not read."""
    tcp, host = row.tcp, snapshot.host
    if tcp is None or not (tcp.sysctls or tcp.netns == host.netns):
        return None, None
    differing = sysctls.differing(tcp.sysctls, host.sysctls, tracks=row.own_table is not None)
    return dict(differing), _judged(differing, About(host.version, tcp.sysctls, row.own_table))


def _judged(values: Mapping[str, Value], about: About) -> Json:
    """The kernel's default (null where that depends on the machine), the verdict, and why."""
    found: Json = {}
    for name, value in values.items():
        known, judgement = sysctls.BY_NAME.get(name), sysctls.judge(name, value, about)
        if known and judgement:
            default = known.default(about.version)
            found[name] = {"default": default, "verdict": judgement.verdict, "sentence": judgement.sentence}
    return found
