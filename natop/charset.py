"""Whether a terminal takes UTF-8, by the locale that the user set.

Python's own streams do not tell: where the locale is C, it sets LC_CTYPE to C.UTF-8 (PEP 538) or goes over to UTF-8
whatever the locale says (PEP 540).
"""

import locale
import os
import re
from collections.abc import Mapping
from pathlib import Path

_DECIDING = ("LC_ALL", "LC_CTYPE", "LANG")
"""The first that is set and not empty decides (POSIX, Environment Variables, 8.2)."""
_STARTED_WITH = Path("/proc/self/environ")


def started_with(path: Path = _STARTED_WITH) -> Mapping[str, str]:
    """The environment as it was before Python changed it; as it is now where that cannot be read."""
    try:
        entries = os.fsdecode(path.read_bytes()).split("\0")
    except OSError:
        return os.environ
    return {name: value for name, found, value in (entry.partition("=") for entry in entries) if found}


def is_utf8(environ: Mapping[str, str]) -> bool:
    """Whether this environment's locale is of UTF-8, be it installed on this host or not."""
    name = next((environ[variable] for variable in _DECIDING if environ.get(variable)), "")
    told = name if "." in name or not name else _codeset(name)
    return re.search("utf-?8", told, re.IGNORECASE) is not None


def _codeset(name: str) -> str:
    """What the C library knows a locale to be of whose name does not tell; the name where it does not know it."""
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, name)
        return locale.nl_langinfo(locale.CODESET)
    except locale.Error:
        return name
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
