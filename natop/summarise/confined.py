"""Rules that confine source NAT to a range of ports (`--to-ports`), and the flows that they apply to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from natop.decode.chains import span
from natop.model import Addresses, Firewall, FlowTable, Mask, NatRule
from natop.uapi import proto_name

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Confined:
    """The ranges that rules name, and which of them each flow's source port was picked from."""

    ranges: tuple[Range, ...]
    """First and last port, both included."""
    of: npt.NDArray[np.int16]
    """For each flow the index of its range, or -1."""


def confined(flows: FlowTable, translated: Mask, firewall: Firewall | None) -> Confined | None:
    """The ranges of the translated flows, whose protocols must have ports; None where no rule has any.

    A flow from a bridge network's subnet is of the rule that the firewall's reading names for that network; any
    other is of the first rule with a range that is for its source. In either case the port it has must be in the
    range, and the address it got the rule's: rules may have been others when it began.
    """
    if firewall is None or not any(rule.ports for rule in _all_rules(firewall)):
        return None
    ranges: dict[Range, int] = {}
    of = np.full(len(flows), -1, np.int16)
    unsettled = translated.copy()
    for subnets, protocols, rule, settles in _in_order(firewall):
        matching = unsettled & _inside(flows.orig_src, subnets) & _of(flows, protocols)
        if settles:
            unsettled &= ~matching
        if rule and rule.ports:
            ports = min(rule.ports), max(rule.ports)
            taken = matching & (flows.reply_dport >= ports[0]) & (flows.reply_dport <= ports[1])
            if rule.to_address:
                taken &= _inside(flows.reply_dst, (rule.to_address,))
            of[taken] = ranges.setdefault(ports, len(ranges))
            unsettled &= ~taken
    return Confined(tuple(ranges), of)


def _all_rules(firewall: Firewall) -> Iterator[NatRule]:
    yield from firewall.rules
    yield from (network.rule for network in firewall.networks if network.rule)


def _in_order(firewall: Firewall) -> Iterator[tuple[Sequence[str], Sequence[str], NatRule | None, bool]]:
    """Subnets and protocols (none: any), their rule, and whether it is known that no other rule takes them."""
    for network in firewall.networks:
        for proto, rule in network.by_protocol.items():
            yield (network.subnet,), (proto,), rule, True
        yield (network.subnet,), (), network.rule, True
    for each in sorted(firewall.rules, key=lambda rule: rule.priority):
        if each.ports:
            yield each.sources, each.protocols, each, False


def _of(flows: FlowTable, protocols: Sequence[str]) -> Mask:
    """Which flows are of any of the protocols; all where there are none."""
    numbers = [number for number in np.unique(flows.proto) if proto_name(int(number)) in protocols]
    return np.isin(flows.proto, numbers) if protocols else np.ones(len(flows), np.bool_)


def _inside(addresses: Addresses, subnets: Sequence[str]) -> Mask:
    """Which addresses are in any of the subnets or ranges; all where there are none, nothing in what makes no sense."""
    if not subnets:
        return np.ones(len(addresses), np.bool_)
    found = np.zeros(len(addresses), np.bool_)
    for each in filter(None, map(span, subnets)):
        found |= addresses.within(each.low, each.high)
    return found
