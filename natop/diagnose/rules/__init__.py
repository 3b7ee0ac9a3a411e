"""The rules, by what they are about; importing the package enters all of them in the registry, gravest causes first."""

from natop.diagnose.rules import nat, table, tcp, ways, sight  # noqa: I001  # the order in which rules are listed

__all__ = ["nat", "sight", "table", "tcp", "ways"]
