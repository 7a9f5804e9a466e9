"""What a deploy does to a server, one module per thing changed."""

from dataclasses import dataclass

from stagetools.deploy.layout import Layout

__all__ = ["Outcome", "changed", "still_serves", "unchanged"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a step: whether it changed anything, and in words."""

    changed: bool
    text: str


def changed(text: str) -> Outcome:
    return Outcome(True, text)


def unchanged(text: str) -> Outcome:
    return Outcome(False, text)


def still_serves(layout: Layout) -> str:
    """The middle part of every error before the switch."""
    return f"What served {layout.system.name} before goes on serving; its data is untouched."
