"""Which rows of a flow table belong to whom."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from natop.model import Attribution, Mask

Ints = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Ownership:
    """Which rows of a table belong to each container: one group a container, and one for what is unowned.

    A flow between two containers belongs to both; one of a container with itself belongs to it once.
    """

    client: Ints
    """Group of each row's client; the last group, of the unowned, where it has neither client nor server."""
    server: Ints
    """Group of each row's server where that differs from the client's."""
    groups: int

    @classmethod
    def of(cls, attribution: Attribution, containers: int) -> "Ownership":
        client = attribution.client.astype(np.intp)
        server = np.where(attribution.server == client, -1, attribution.server).astype(np.intp)
        client[(client < 0) & (server < 0)] = containers
        return cls(client, server, containers + 1)

    @classmethod
    def whole(cls, rows: int) -> "Ownership":
        """All rows in one group."""
        return cls(np.zeros(rows, np.intp), np.full(rows, -1, np.intp), 1)

    def table(self, column: npt.NDArray[np.unsignedinteger], width: int, rows: Mask | None = None) -> Ints:
        """Rows counted by group and by the value of `column`, which is below `width`."""
        counts = np.zeros(self.groups * width, np.intp)
        for group in (self.client, self.server):
            member = group >= 0 if rows is None else (group >= 0) & rows
            counts += np.bincount(group[member] * width + column[member], minlength=len(counts))
        return counts.reshape(self.groups, width)

    def count(self, selected: Mask) -> Ints:
        """Selected rows counted by group."""
        return self.table(np.zeros(len(selected), np.uint8), 1, selected)[:, 0]
