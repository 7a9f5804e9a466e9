"""What a deploy does to a server, one module per thing changed."""

from dataclasses import dataclass

__all__ = ["Outcome", "changed", "unchanged"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a step: whether it changed anything, and in words."""

    changed: bool
    text: str


def changed(text: str) -> Outcome:
    return Outcome(True, text)


def unchanged(text: str) -> Outcome:
    return Outcome(False, text)
