"""Commands that leave all as it was when they are run a second time: people paste them again, or at every boot."""

from natop.diagnose.namespace import OR


def anew(family: str, table: str, end: str = "\n") -> str:
    """What takes a table away that may be there, as the first lines of a text that makes it (nft(8)): nft loads a
    text as a whole or not at all."""
    return f"table {family} {table}{end}delete table {family} {table}"


def table_anew(family: str, table: str, chain: str) -> str:
    """The command that makes a table of one chain, in the place of one of that name."""
    return f"nft '{anew(family, table, '; ')}; table {family} {table} {{ {chain} }}'"


def inserted_once(tool: str, chain: str, rule: str) -> str:
    """The command that puts a rule before those of a chain, unless it is in there."""
    return f"{tool} -C {chain} {rule} 2>/dev/null{OR}{tool} -I {chain} {rule}"
