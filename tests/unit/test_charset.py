"""Whether the terminal takes UTF-8: by what the user set, whatever Python made of it."""

import locale
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from natop.charset import is_utf8, started_with


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"LANG": "C"}, False),
        ({"LANG": "POSIX"}, False),
        ({"LANG": "C.UTF-8"}, True),
        ({"LANG": "C.utf8"}, True),
        ({"LANG": "de_DE.UTF-8@euro"}, True),
        ({"LANG": "xx_YY.UTF-8"}, True),
        ({"LC_CTYPE": "UTF-8"}, True),
        ({"LANG": "de_DE.ISO-8859-1"}, False),
        ({"LANG": "ja_JP.eucJP"}, False),
        ({"LANG": "nobody_KNOWS"}, False),
        ({"LANG": "C.UTF-8", "LC_CTYPE": "C"}, False),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, True),
        ({"LANG": "C.UTF-8", "LC_CTYPE": "C.UTF-8", "LC_ALL": "POSIX"}, False),
        ({"LANG": "C", "LC_CTYPE": "C", "LC_ALL": "C.UTF-8"}, True),
        ({"LANG": "C.UTF-8", "LC_CTYPE": "", "LC_ALL": ""}, True),
        ({"LC_MESSAGES": "C.UTF-8", "LANGUAGE": "de_DE.UTF-8"}, False),
    ],
)
def test_the_first_variable_that_is_set_decides(environ: Mapping[str, str], expected: bool) -> None:
    before = locale.setlocale(locale.LC_CTYPE)
    assert is_utf8(environ) is expected
    assert locale.setlocale(locale.LC_CTYPE) == before


def told(code: str, **locale_: str) -> list[str]:
    """What Python prints where nothing else of the locale is set."""
    kept = {name: value for name, value in os.environ.items() if name not in ("LANG", "LC_ALL", "LC_CTYPE")}
    ended = subprocess.run([sys.executable, "-c", code], env=kept | locale_, capture_output=True, text=True, check=True)
    return ended.stdout.split()


@pytest.mark.parametrize("variable", ["LANG", "LC_CTYPE"])
def test_what_python_puts_in_the_place_of_c_does_not_count(variable: str) -> None:
    code = "import os; from natop.charset import *; print(os.environ['LC_CTYPE'], is_utf8(started_with()))"
    assert told(code, **{variable: "C"}) == ["C.UTF-8", "False"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [({"LANG": "C"}, "None"), ({"LC_CTYPE": "C"}, "C"), ({"LC_CTYPE": "C.UTF-8"}, "C.UTF-8"), ({}, "None")],
)
def test_the_demo_hands_the_user_s_locale_on(given: dict[str, str], expected: str) -> None:
    code = "from natop.demo import run; print(run._environment().get('LC_CTYPE'))"
    assert told(code, **given) == [expected]


def test_an_environment_that_cannot_be_read_is_taken_as_it_is_now(tmp_path: Path) -> None:
    assert started_with(tmp_path / "none") == os.environ
    (tmp_path / "environ").write_bytes(b"LANG=C\0ODD\0EMPTY=\0TWO=a=b\0BYTES=\xff\0")
    assert started_with(tmp_path / "environ") == {"LANG": "C", "EMPTY": "", "TWO": "a=b", "BYTES": "\udcff"}
