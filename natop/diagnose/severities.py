"""How grave lost connections are, by one measure for all rules: CRITICAL is worth waking somebody for, WARNING a look
in the morning, INFO a word.
"""

from natop.diagnose.evidence import Evidence
from natop.model import Severity

MANY_LOST = 30
"""First packets lost while natop watched, a minute at most: one every two seconds, so that people are waiting now."""
MANY_PART = 0.01
"""Of the new connections. Measured on Linux 6.18, NAT loses as many of them for want of a port where 98 % of a pool are
taken, by chance spread; that is the loss from which on a pool is called full."""


def of_losses(evidence: Evidence, lost: int, of: float | None = None, *, is_sure: bool = True) -> Severity:
    """Of so many new connections that this host made wait a second or more.

    `of` are the connections that they are counted among, without the lost; where nobody says, all new flows, and where
    these are unknown too, the number alone decides. What is only likely is never CRITICAL.
    """
    if evidence.is_minor(lost, of):
        return Severity.INFO
    others = evidence.new_flows if of is None else of
    is_large_part = others is None or lost >= MANY_PART * (others + lost)
    return Severity.CRITICAL if is_sure and lost >= MANY_LOST and is_large_part else Severity.WARNING


def graver(*severities: Severity) -> Severity:
    """The gravest of some."""
    return max(severities, key=lambda each: each.rank)
