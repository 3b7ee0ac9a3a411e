"""The demo's cables and bridges, laid with pyroute2."""

from collections.abc import Mapping
from pathlib import Path

from pyroute2 import IPRoute

from natop.demo.namespaces import network_of
from natop.demo.plan import Bridge, Cable, Machine

SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/bridge/bridge-nf-call-iptables": "1",
    "net/netfilter/nf_conntrack_acct": "1",
    "net/netfilter/nf_conntrack_timestamp": "1",
}
"""Settings of the router's namespace: it forwards, sees bridged packets, and counts and dates its flows."""
ROUTE_LOCALNET = "net/ipv4/conf/{}/route_localnet"
"""Of a bridge: the host's calls from the loopback address may leave by it, as with a Docker without docker-proxy."""


def lay(bridges: tuple[Bridge, ...], machines: tuple[Machine, ...], pids: Mapping[str, int]) -> None:
    """Build every bridge and cable; the calling process is in the router's namespace."""
    with IPRoute() as router:
        _raise(router, "lo")
        for bridge in bridges:
            router.link("add", ifname=bridge.ifname, kind="bridge")
            _give(router, bridge.ifname, bridge.address)
        for machine in machines:
            for cable in machine.cables:
                _plug(router, cable, pids[machine.name])
    for machine in machines:
        if machine.cables:
            with network_of(pids[machine.name]):
                _furnish(machine)


def _plug(router: IPRoute, cable: Cable, pid: int) -> None:
    """Make a veth pair, its far end in the namespace of process `pid`."""
    peer = {"ifname": cable.ifname, "net_ns_pid": pid, "address": cable.mac}
    router.link("add", ifname=cable.router_ifname, kind="veth", peer=peer)
    if cable.bridge:
        master = router.link_lookup(ifname=cable.bridge)[0]
        router.link("set", index=router.link_lookup(ifname=cable.router_ifname)[0], master=master)
        _raise(router, cable.router_ifname)
    else:
        _give(router, cable.router_ifname, cable.router_address)


def _furnish(machine: Machine) -> None:
    """Addresses and the default route of a machine, from within its namespace."""
    with IPRoute() as inner:
        _raise(inner, "lo")
        for cable in machine.cables:
            _give(inner, cable.ifname, cable.address)
        inner.route("add", dst="default", gateway=machine.gateway)


def _give(route: IPRoute, ifname: str, address: str) -> None:
    ip, _, prefix = address.partition("/")
    route.addr("add", index=route.link_lookup(ifname=ifname)[0], address=ip, prefixlen=int(prefix))
    _raise(route, ifname)


def _raise(route: IPRoute, ifname: str) -> None:
    route.link("set", index=route.link_lookup(ifname=ifname)[0], state="up")


def tune(bridges: tuple[Bridge, ...]) -> None:
    """Set what the kernel has of these; without forwarding there is no demo, so that one raises OSError."""
    for name, value in {**SYSCTLS, **{ROUTE_LOCALNET.format(each.ifname): "1" for each in bridges}}.items():
        try:
            Path("/proc/sys", name).write_text(value)
        except OSError:
            if name.endswith("ip_forward"):
                raise
