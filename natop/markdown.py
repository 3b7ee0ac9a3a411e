"""Text from outside as Markdown that shows it letter by letter."""

import re

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~!&])")


def escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)
