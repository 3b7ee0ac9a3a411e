"""What is said of clashes, of SYNs sent again and of NAT pools, the same by every rule."""

from collections.abc import Iterable

from natop.diagnose.evidence import Evidence, named, percent_of
from natop.diagnose.losses import POOL_NO_RACE, is_scarce
from natop.model import Pool
from natop.summarise.portsearch import POOL_WARN


def clash_text(evidence: Evidence, clashes: int) -> str:
    """As `insert_failed +41 and drop with it in 60 s on 2 of 2 CPUs`."""
    failed, where = evidence.risen("insert_failed"), f"{evidence.span}{evidence.on_cpus('insert_failed')}"
    if failed == clashes:
        return f"insert_failed +{clashes:,} and drop with it {where}"
    return f"insert_failed +{failed or 0:,} {where}, of these {clashes:,} lost: drop counts them too"


def again_text(evidence: Evidence, syns: int, senders: Iterable[tuple[str, int]] = ()) -> str:
    """As `SYN retransmits +39 in 60 s: web (28) and php (11)`."""
    whose = named(senders)
    return f"SYN retransmits +{syns:,} {evidence.span}" + (f": {whose}" if whose else "")


def use_text(pool: Pool) -> str:
    """As `97 % of 64,512`."""
    return f"{percent_of(pool.used, pool.capacity)} % of {pool.capacity:,}"


def fullest_text(evidence: Evidence) -> str:
    """The fullest pool now, and what that says about lost packets."""
    if not evidence.knows_pools:
        was_read = evidence.snapshot.pools is not None
        return "the NAT pools were not read in the last minute" if was_read else "the NAT pools could not be read"
    pool = evidence.fullest
    if pool is None:
        return "no NAT pool holds a port → not exhaustion"
    return f"busiest pool {use_text(pool)} ({pool.name}) → {_meaning(pool)}"


def _meaning(pool: Pool) -> str:
    if is_scarce(pool):
        return "nearly full"
    if pool.use < POOL_WARN:
        return "not exhaustion"
    if pool.use < POOL_NO_RACE:
        return "filling, but none is lost for that yet"
    return f"{pool.soft:,} of it may be evicted, chance of a loss {100 * pool.loss:.1f} %: exhaustion is not shown"
