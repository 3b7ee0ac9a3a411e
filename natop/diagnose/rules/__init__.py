"""The rules, by what they are about. Importing them enters them in the registry, in the order of these imports."""

from natop.diagnose.registry import RULES  # noqa: I001  # the order of the next line is that of the rules
from natop.diagnose.rules import nat, ports, table, piles, tcp, ways, sight  # noqa: F401

__all__ = ["RULES"]
