"""NAT pools, kept ports, TIME_WAIT and NAT rules as the JSON document has them."""

from math import isnan

from natop.export import Json
from natop.join.flows import Flows, has_ports
from natop.model import Firewall, NatPools, NatRule, PortChoice, Snapshot, TimeWait
from natop.summarise.pools import sustainable_per_s
from natop.uapi import proto_name

MOST_POOLS = 1_000
"""The fullest pools are told; a host that calls tens of thousands of remote ends has as many."""


class PoolObjects:
    """The pools of one snapshot as objects."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._pools, self._flows = snapshot.pools, Flows.of(snapshot)
        told = sustainable_per_s(snapshot.pools, snapshot.host.sysctls).tolist() if snapshot.pools else ()
        self._sustainable = [None if isnan(rate) else rate for rate in told]

    def listed(self) -> list[Json] | None:
        """The fullest, first; None where flows were not read."""
        if self._pools is None:
            return None
        return [self._object(self._pools, row) for row in range(min(len(self._pools), MOST_POOLS))]

    def omitted(self) -> int | None:
        """How many pools are not among those listed."""
        return None if self._pools is None else max(0, len(self._pools) - MOST_POOLS)

    def at(self, row: int | None) -> Json | None:
        return None if self._pools is None or row is None else self._object(self._pools, row)

    def _object(self, pools: NatPools, row: int) -> Json:
        proto = int(pools.proto[row])
        containers, others = self._holders(pools, row)
        return {
            "proto": proto_name(proto),
            "zone": int(pools.zone[row]),
            "nat_ip": pools.nat.text(row),
            "remote_ip": pools.remote.text(row),
            "remote_port": int(pools.remote_port[row]) if has_ports(proto) else None,
            "first_port": int(pools.first_port[row]),
            "last_port": int(pools.last_port[row]),
            "used": int(pools.used[row]),
            "capacity": int(pools.capacity[row]),
            "hard": int(pools.hard[row]),
            "soft": int(pools.soft[row]),
            "time_wait": int(pools.time_wait[row]),
            "rewritten": int(pools.rewritten[row]),
            "masqueraded": int(pools.masqueraded[row]),
            "port_choice": port_choice_object(pools.choice(row)),
            "draining": int(pools.draining[row]),
            "drain_s": int(pools.drain_s[row]) if pools.draining[row] else None,
            "new_per_s": None if pools.new_per_s is None else float(pools.new_per_s[row]),
            "sustainable_per_s": self._sustainable[row],
            "loss": float(pools.loss[row]),
            "containers": containers,
            "others": others,
        }

    def _holders(self, pools: NatPools, row: int) -> tuple[dict[str, int], dict[str, int]]:
        """Ports by container, and by whoever else is known."""
        part = slice(int(pools.start[row]), int(pools.start[row + 1]))
        containers: dict[str, int] = {}
        others: dict[str, int] = {}
        for code, ports in zip(pools.holder[part].tolist(), pools.holds[part].tolist(), strict=True):
            container = self._flows.container(code) if self._flows else None
            other = self._flows.other(code) if self._flows else None
            if container:
                containers[container] = ports
            elif other:
                others[other] = ports
        return containers, others


def port_choice_object(choice: PortChoice | None) -> Json | None:
    if choice is None:
        return None
    return {"kept": choice.kept, "rewritten": choice.rewritten, "kept_share": choice.kept_share}


def time_wait_object(waiting: TimeWait | None) -> Json | None:
    if waiting is None:
        return None
    return {
        "count": waiting.count,
        "share": waiting.share,
        "closed_by_client": waiting.closed_by_client,
        "closed_by_server": waiting.closed_by_server,
        "remotes": [{"ip": address, "flows": flows} for address, flows in waiting.remotes],
        "services": [{"service": service, "flows": flows} for service, flows in waiting.services],
        "growth_per_min": waiting.growth_per_min,
        "steady_state": waiting.steady_state,
        "unsteady": None if waiting.peak_state is None else waiting.is_unsteady,
        "concern": waiting.concern,
    }


def nat_rules_object(firewall: Firewall | None) -> Json | None:
    """The source-NAT rules in the kernel's order, and which of them takes what each bridge network sends out."""
    if firewall is None:
        return None
    return {
        "networks": [
            {
                "name": each.network,
                "bridge": each.bridge,
                "subnet": each.subnet,
                "internal": each.internal,
                "rule": _nat_rule(each.rule),
                "udp_rule": _nat_rule(each.rule_of("udp")),
                "others": [_nat_rule(rule) for rule in each.others],
                "hairpin": _nat_rule(each.hairpin),
            }
            for each in firewall.networks
        ],
        "rules": [_nat_rule(rule) for rule in firewall.rules],
    }


def _nat_rule(rule: NatRule | None) -> Json | None:
    if rule is None:
        return None
    return {
        "backend": rule.backend,
        "chain": rule.chain,
        "priority": rule.priority,
        "action": rule.action,
        "sources": rule.sources,
        "protocols": rule.protocols,
        "to_address": rule.to_address,
        "ports": rule.ports,
        "random": rule.random,
        "fully_random": rule.fully_random,
        "text": rule.text,
    }
