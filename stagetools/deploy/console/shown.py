"""Text as a terminal shows it, and does not obey it."""

import re

from rich.text import Text

__all__ = ["shown"]

# What a terminal obeys instead of showing it: CSI and OSC sequences, and other control characters.
_OBEYED = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)


def shown(text: str, style: str = "") -> Text:
    """The text without markup, and without orders: a site may have written it, hostile or not."""
    return Text(_OBEYED.sub("", text), style=style)
