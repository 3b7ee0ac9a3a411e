"""What remedies ask of Docker's side: containers by name, networks, and what to call them in a command."""

import itertools
import re
import shlex
from collections.abc import Sequence

from natop.decode.inventory import DOCKER
from natop.decode.rules import NO_NFT
from natop.diagnose.evidence import Evidence
from natop.model import Container, Version, kernel_version

_PLAIN = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
"""What Docker takes for a container's name (daemon/names of moby); other engines may tell anything."""
_ID = re.compile(r"[0-9a-f]{64}")


def containers(evidence: Evidence) -> Sequence[Container]:
    return evidence.snapshot.inventory.containers if evidence.snapshot.inventory else ()


def container_of(evidence: Evidence, name: str) -> Container | None:
    return next((each for each in containers(evidence) if each.name == name), None)


def called(evidence: Evidence, name: str) -> str:
    """A container in a command: by its name, or by its id where the name is none that Docker would give."""
    container = container_of(evidence, name)
    if container and not _PLAIN.fullmatch(name) and _ID.fullmatch(container.id):
        return container.id[:12]
    return shlex.quote(name)


def unused_network(evidence: Evidence, name: str) -> str:
    """A name for a network that there is not yet."""
    inventory = evidence.snapshot.inventory
    taken = {network.name for network in inventory.networks} if inventory else set()
    candidates = itertools.chain((name,), (f"{name}-{n}" for n in itertools.count(2)))
    return next(each for each in candidates if each not in taken)


def engine_version(evidence: Evidence) -> Version | None:
    """The engine's, as (28, 2); None where it does not tell."""
    inventory = evidence.snapshot.inventory
    return kernel_version(inventory.engine.version) if inventory else None


def is_docker(evidence: Evidence) -> bool:
    """Whether it is Docker's own engine, with its options and its chains of iptables."""
    inventory = evidence.snapshot.inventory
    return inventory is not None and inventory.engine.product == DOCKER


def uses_nftables(evidence: Evidence) -> bool:
    """Whether Docker's rules are nft's own, so that the chains of iptables are not there; by the engine's word where
    the rules could not be read."""
    firewall, inventory = evidence.snapshot.firewall, evidence.snapshot.inventory
    backend = (firewall.backend if firewall else None) or (inventory.engine.firewall_backend if inventory else None)
    return backend == "nftables"


def wanting_nft(evidence: Evidence) -> str:
    """A sentence for remedies by nft, where that is not installed; empty where it is, as far as natop knows."""
    is_absent = any(gap.reason == NO_NFT for gap in evidence.snapshot.gaps)
    return " It takes nft, which is not installed here: the package nftables first." if is_absent else ""


def elsewhere(evidence: Evidence) -> str:
    """A sentence for remedies by the firewall, where the engine's bridges are not in the namespace read."""
    inventory, entered = evidence.snapshot.inventory, evidence.snapshot.host.entered
    is_apart = inventory is not None and inventory.engine.rootless and entered is None
    return " This engine is rootless: its networks have their rules in its own namespace (--netns)." if is_apart else ""
