"""What the demo's Engine knows: its containers and networks."""

from collections.abc import Iterable

from natop.demo.shapes import DemoContainer, DemoNetwork

DEFAULT_NETWORKS = (
    DemoNetwork("bridge", subnet="172.17.0.0/16", gateway="172.17.0.1"),
    DemoNetwork("host", driver="host"),
    DemoNetwork("none", driver="null"),
)


class Inventory:
    """Containers and networks, by what a request may call them."""

    def __init__(
        self, containers: Iterable[DemoContainer] = (), networks: Iterable[DemoNetwork] = DEFAULT_NETWORKS
    ) -> None:
        self._containers = {each.id: each for each in containers}
        self._networks = {each.name: each for each in networks}

    @property
    def containers(self) -> tuple[DemoContainer, ...]:
        """All containers, the newest first, as the Engine lists them."""
        return tuple(reversed(self._containers.values()))

    @property
    def networks(self) -> dict[str, DemoNetwork]:
        """All networks by name."""
        return dict(self._networks)

    def container(self, reference: str) -> DemoContainer | None:
        """The container with that id, name or unambiguous beginning of an id."""
        containers = self.containers
        for each in containers:
            if reference in (each.id, each.name):
                return each
        matches = [each for each in containers if reference and each.id.startswith(reference)]
        return matches[0] if len(matches) == 1 else None

    def network(self, reference: str) -> DemoNetwork | None:
        """The network with that id or name."""
        return next((n for n in self.networks.values() if reference in (n.id, n.name)), None)
