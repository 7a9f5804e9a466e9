"""What came of a step, in words."""

from dataclasses import dataclass

from rich.filesize import decimal as size

__all__ = ["Outcome", "changed", "counted", "size", "unchanged"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a step: whether it changed anything, and in words."""

    changed: bool
    text: str
    comes_again: bool = False  # neither success nor failure: others come first


def changed(text: str) -> Outcome:
    return Outcome(True, text)


def unchanged(text: str) -> Outcome:
    return Outcome(False, text)


def counted(number: int, noun: str) -> str:
    """`1 migration`, `2 migrations`"""
    return f"{number} {noun}" + ("" if number == 1 else "s")
