"""Text from outside, made harmless at the border where it enters."""

import re

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0 and C1 controls: ESC, CSI, BEL, line ends
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufeff\uffa0"  # invisible
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # zero width, line separators, bidirectional overrides
    "\ud800-\udfff\U000e0000-\U000e0fff]"  # lone surrogates, tags
)
MAX_LENGTH = 256
"""Longest text kept, in characters; Docker's own names end at 255."""


def clean(value: object, longest: int = MAX_LENGTH) -> str:
    """`value` as one line of text that no terminal acts upon; what was unsafe becomes U+FFFD."""
    text = value if isinstance(value, str) else "" if value is None else str(value)
    return _UNSAFE.sub("\ufffd", text[:longest])
