"""The sysctls that matter to NAT and to TCP in containers: scope, default, unit, and what a value means.

Documentation/networking/nf_conntrack-sysctl.rst and ip-sysctl.rst tell what each does. A new network namespace gets the
kernel's defaults, not its parent's values; NAT goes by the host's conntrack timeouts, never by a container's.
"""

from natop.sysctls.catalogue import BY_NAME, CATALOGUE, INSIDE, PATHS, differing, judge, number_of
from natop.sysctls.judging import (
    CHAIN_CRITICAL,
    CHAIN_WARNING,
    EVICTING,
    FULL_CRITICAL,
    FULL_WARNING,
    LOCAL_PORTS,
    SHORT_TIME_WAIT_S,
)
from natop.sysctls.kinds import About, Area, Judgement, Scope, Sysctl, Value, Verdict, value_text
from natop.sysctls.texts import decode, parse, parse_ports

__all__ = [
    "BY_NAME",
    "CATALOGUE",
    "CHAIN_CRITICAL",
    "CHAIN_WARNING",
    "EVICTING",
    "FULL_CRITICAL",
    "FULL_WARNING",
    "INSIDE",
    "LOCAL_PORTS",
    "PATHS",
    "SHORT_TIME_WAIT_S",
    "About",
    "Area",
    "Judgement",
    "Scope",
    "Sysctl",
    "Value",
    "Verdict",
    "decode",
    "differing",
    "judge",
    "number_of",
    "parse",
    "parse_ports",
    "value_text",
]
