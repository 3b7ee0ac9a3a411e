"""The router's NAT as nf_tables rules, by pyroute2's netlink messages: no `nft` binary is needed.

The table resembles the one Docker makes with `--firewall-backend=nftables` where it runs without docker-proxy: DNAT for
published ports in prerouting and output, at the loopback address too. MASQUERADE is for what leaves a bridge's subnet
by another interface, for the host's calls from the loopback address, and for containers that call what they publish.
"""

import socket
from typing import Any

from pyroute2.netlink.nfnetlink.nftsocket import Cmp, Meta, Regs
from pyroute2.nftables.main import NFTables

from natop.demo.plan import Bridge, Published

TABLE = "docker-bridges"
FORWARDED = "nat-prerouting-and-output"
"""The chain of the published ports."""
LOOPBACK = "127.0.0.0/8"

# linux/netfilter.h, linux/netfilter_ipv4.h, linux/netfilter/nf_tables.h
NFPROTO_IPV4 = 2
NF_ACCEPT = 1
NF_IP_PRI_NAT_DST = -100
NF_IP_PRI_NAT_SRC = 100
NFT_PAYLOAD_NETWORK_HEADER = 1
NFT_PAYLOAD_TRANSPORT_HEADER = 2
NFT_NAT_DNAT = 1
NFT_JUMP = -3
IFNAMSIZ = 16

# Offsets in bytes: RFC 791 section 3.1, RFC 9293 section 3.1
IP_SOURCE, IP_DESTINATION, TCP_DESTINATION = 12, 16, 2

Expression = dict[str, Any]


def install(bridges: tuple[Bridge, ...], published: tuple[Published, ...], public: str) -> None:
    """Make the table, its three nat chains and their rules in this process' network namespace."""
    with NFTables(nfgen_family=NFPROTO_IPV4) as nft:
        nft.table("add", name=TABLE)
        for chain, hook, priority in (
            ("nat-PREROUTING", "prerouting", NF_IP_PRI_NAT_DST),
            ("nat-OUTPUT", "output", NF_IP_PRI_NAT_DST),
            ("nat-POSTROUTING", "postrouting", NF_IP_PRI_NAT_SRC),
        ):
            nft.chain("add", table=TABLE, name=chain, hook=hook, type="nat", policy=NF_ACCEPT, priority=priority)
        nft.chain("add", table=TABLE, name=FORWARDED)

        def rule(chain: str, *expressions: Expression) -> None:
            nft.rule("add", table=TABLE, chain=chain, expressions=[list(expressions)])

        rule("nat-PREROUTING", *_within(IP_DESTINATION, f"{public}/32"), _jump(FORWARDED))
        rule("nat-OUTPUT", *_within(IP_DESTINATION, f"{public}/32"), _jump(FORWARDED))
        rule("nat-OUTPUT", *_within(IP_DESTINATION, LOOPBACK), _jump(FORWARDED))
        for bridge in bridges:
            rule("nat-POSTROUTING", *masquerading(bridge))
            rule("nat-POSTROUTING", *_from_loopback(bridge))
        for port in published:
            rule(FORWARDED, *forwarding(port))
            rule("nat-POSTROUTING", *_turned_back(port))


def forwarding(port: Published) -> list[Expression]:
    """`tcp dport HOST_PORT counter dnat to ADDRESS:PORT`."""
    return [
        *_to_port(port.host_port),
        _counter(),
        _load(Regs.NFT_REG_1, socket.inet_aton(port.address)),
        _load(Regs.NFT_REG_2, port.port.to_bytes(2)),
        _expression(
            "nat",
            type=NFT_NAT_DNAT,
            family=NFPROTO_IPV4,
            reg_addr_min=Regs.NFT_REG_1,
            reg_proto_min=Regs.NFT_REG_2,
        ),
    ]


def _turned_back(port: Published) -> list[Expression]:
    """`ip saddr ADDRESS ip daddr ADDRESS tcp dport PORT counter masquerade`."""
    own = f"{port.address}/32"
    ends = *_within(IP_SOURCE, own), *_within(IP_DESTINATION, own)
    return [*ends, *_to_port(port.port), _counter(), _expression("masq")]


def masquerading(bridge: Bridge) -> list[Expression]:
    """`oifname != BRIDGE ip saddr SUBNET counter masquerade`."""
    way_out = _compare(_meta(Meta.NFT_META_OIFNAME), _padded(bridge.ifname), Cmp.NFT_CMP_NEQ)
    return [*way_out, *_within(IP_SOURCE, bridge.subnet), _counter(), _expression("masq")]


def _from_loopback(bridge: Bridge) -> list[Expression]:
    """`oifname BRIDGE ip saddr 127.0.0.0/8 counter masquerade`."""
    way_out = _compare(_meta(Meta.NFT_META_OIFNAME), _padded(bridge.ifname))
    return [*way_out, *_within(IP_SOURCE, LOOPBACK), _counter(), _expression("masq")]


def _to_port(number: int) -> list[Expression]:
    """`tcp dport NUMBER`."""
    return [
        *_compare(_meta(Meta.NFT_META_L4PROTO), bytes([socket.IPPROTO_TCP])),
        *_compare(_payload(NFT_PAYLOAD_TRANSPORT_HEADER, TCP_DESTINATION, 2), number.to_bytes(2)),
    ]


def _within(offset: int, subnet: str) -> list[Expression]:
    """Go on only where the address at that offset of the IPv4 header is in a subnet."""
    net, _, prefix = subnet.partition("/")
    mask = ((1 << 32) - (1 << 32 - int(prefix))).to_bytes(4)
    masked = _expression(
        "bitwise", sreg=Regs.NFT_REG_1, dreg=Regs.NFT_REG_1, len=4, mask=_value(mask), xor=_value(bytes(4))
    )
    address, inside = _compare(_payload(NFT_PAYLOAD_NETWORK_HEADER, offset, 4), socket.inet_aton(net))
    return [address, masked, inside] if int(prefix) < 32 else [address, inside]


def _padded(ifname: str) -> bytes:
    return ifname.encode().ljust(IFNAMSIZ, b"\0")


def _counter() -> Expression:
    return _expression("counter", bytes=0, packets=0)


def _jump(chain: str) -> Expression:
    verdict = {"attrs": [("NFTA_VERDICT_CODE", NFT_JUMP), ("NFTA_VERDICT_CHAIN", chain)]}
    data = {"attrs": [("NFTA_DATA_VERDICT", verdict)]}
    return _expression("immediate", dreg=Regs.NFT_REG_VERDICT, data=data)


def _expression(name: str, **attributes: Any) -> Expression:
    """One nf_tables expression (NFTA_LIST_ELEM) with its `NFTA_<NAME>_<KEY>` attributes."""
    data = [(f"NFTA_{name.upper()}_{key.upper()}", value) for key, value in attributes.items()]
    return {"attrs": [("NFTA_EXPR_NAME", name), ("NFTA_EXPR_DATA", {"attrs": data})]}


def _value(data: bytes) -> Expression:
    return {"attrs": [("NFTA_DATA_VALUE", data)]}


def _meta(key: Meta) -> Expression:
    return _expression("meta", key=key, dreg=Regs.NFT_REG_1)


def _payload(base: int, offset: int, length: int) -> Expression:
    return _expression("payload", dreg=Regs.NFT_REG_1, base=base, offset=offset, len=length)


def _load(register: Regs, data: bytes) -> Expression:
    return _expression("immediate", dreg=register, data=_value(data))


def _compare(load: Expression, data: bytes, operator: Cmp = Cmp.NFT_CMP_EQ) -> list[Expression]:
    """Load something into register 1 and go on with the rule only where it compares with `data`."""
    return [load, _expression("cmp", sreg=Regs.NFT_REG_1, op=operator, data=_value(data))]
