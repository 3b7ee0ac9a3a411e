"""The answers of the firewall's tools to one set of NAT chains, and what is missing from it."""

import re
from collections.abc import Iterator, Mapping

from natop.decode import nft
from natop.decode.chains import Chain, Ruleset
from natop.decode.iptables import BUILT_IN, TABLE, decode_save
from natop.model import FirewallText, Gap
from natop.text import clean

NO_NFT = "nft is not installed: rules in tables of nftables' own are not seen"

TABLES = "nft -j list tables"
CHAINS = "nft -j list chains"
LISTED = "nft -j list table "
SPELLED = "nft -a -s list table "
SAVES = {
    "iptables-nft": (4, "ip"),
    "ip6tables-nft": (6, "ip6"),
    "iptables-legacy": (4, ""),
    "ip6tables-legacy": (6, ""),
}
"""Backends whose rules `BACKEND-save -t nat` prints: the family, and nft's word for it where the tables are nft's."""


def save_command(backend: str) -> str:
    """What prints a backend's rules; some distributions know it by another name (see `collect.rules`)."""
    return f"{backend}-save -t {TABLE}"


def decode_rules(text: FirewallText) -> tuple[Ruleset | None, tuple[Gap, ...]]:
    """The chains, None where nothing could be read; and what could not."""
    gaps = tuple(_gaps(text))
    if gaps and not text.answers:
        return None, gaps
    ages = {
        (family, name): handle
        for each in nft.objects(text.answers.get(TABLES, ""), "table")
        if isinstance(family := each.get("family"), str)
        and isinstance(name := each.get("name"), str)
        and isinstance(handle := each.get("handle"), int)
    }
    chains = [*_saved(text, ages), *_listed(text, ages)]
    return Ruleset({(each.backend, each.table, each.name): each for each in chains}), gaps


def _saved(text: FirewallText, ages: Mapping[tuple[str, str], int]) -> Iterator[Chain]:
    for backend, (family, word) in SAVES.items():
        yield from decode_save(text.answers.get(save_command(backend), ""), backend, family, ages.get((word, TABLE), 0))


def _listed(text: FirewallText, ages: Mapping[tuple[str, str], int]) -> Iterator[Chain]:
    """nft's chains but the base chains that iptables-save has told, whose rules it spells better."""
    told = {word for backend, (_, word) in SAVES.items() if is_told(text.answers.get(save_command(backend), ""))}
    listings = [answer for command, answer in text.answers.items() if command.startswith(LISTED)]
    spellings = [answer for command, answer in text.answers.items() if command.startswith(SPELLED)]
    for chain in nft.decode_tables(listings, spellings, ages):
        family, _, table = chain.table.partition(" ")
        if not (table == TABLE and family in told and chain.name in BUILT_IN):
            yield chain


def is_told(saved: str) -> bool:
    """Whether iptables-save found rules; it prints the chains even of a table that is not there or not its own."""
    return "\n-A " in saved


def _gaps(text: FirewallText) -> Iterator[Gap]:
    refused = {asked for asked, reason in text.refused.items() if re.search("ermi(ssion|tted)", reason)}
    if refused and text.answers and all(asked.startswith("/proc/") for asked in refused):
        reason = f"rules of iptables-legacy are not seen: {min(refused)} is for the host's root alone"
        yield Gap("rules", reason, "run: sudo natop")
    elif refused:
        yield Gap("rules", "reading NAT rules needs CAP_NET_ADMIN", "run: sudo natop")
    for command, reason in text.refused.items():
        if command not in refused:
            yield Gap("rules", clean(f"{command}: {reason}"))
    if "nft" in text.absent:
        yield Gap("rules", NO_NFT, _install("nftables"))
    if any(tool.endswith("-nft-save") for tool in text.absent) and _is_half_read(text):
        reason = "iptables-save is not installed: rules that iptables-nft made are read in part"
        yield Gap("rules", reason, _install("iptables"))
    if any(tool.endswith("-legacy-save") for tool in text.absent):
        yield Gap("rules", "iptables-legacy-save is not installed: its rules are not seen", _install("iptables"))


def _is_half_read(text: FirewallText) -> bool:
    """Whether rules of iptables are known from nft alone, or not at all."""
    listed = [answer for command, answer in text.answers.items() if command.startswith(LISTED)]
    return "nft" in text.absent or any(nft.has_iptables_rules(answer) for answer in listed)


def _install(package: str) -> str:
    return f"install it: apt install {package} (dnf, apk: the same name)"
