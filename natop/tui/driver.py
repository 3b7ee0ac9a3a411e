"""What Textual's driver makes of a terminal's input, where that is not as it expects."""

import codecs
from functools import partial

from textual.drivers import linux_driver


def accept_any_bytes() -> None:
    """Have bytes that are no UTF-8 count as keys that mean nothing: a terminal of another encoding sends them, and so
    does noise on a line. Textual's own decoder ends the program."""
    linux_driver.getincrementaldecoder = _lenient  # type: ignore[assignment, attr-defined]  # it has no setting for that


def _lenient(encoding: str) -> partial[codecs.IncrementalDecoder]:
    return partial(codecs.getincrementaldecoder(encoding), errors="replace")
