"""A compose file of the developer's own beside ours, which keeps the name `compose.yaml`.

A deploy names its files to Compose, so it merges no other. On the developer's machine Compose
looks for files by itself, and finds ours first.
"""

from pathlib import Path

from stagetools.errors import UsageError

__all__ = ["OURS", "is_foreign", "refuse_foreign", "shadowed"]

OURS = "compose.yaml"
_THEIRS = ("compose.yml", "docker-compose.yml", "docker-compose.yaml")
_MARK = "STAGETOOLS_SYSTEM"


def is_foreign(root: Path) -> bool:
    """Whether what is called compose.yaml is not what was rendered."""
    file = root / OURS
    return file.is_file() and _MARK not in file.read_text("utf-8", "replace")


def refuse_foreign(root: Path) -> None:
    """A developer's own file, with its ports and commands, is never deployed."""
    if is_foreign(root):
        raise UsageError(
            f"{OURS} is not the one that the template rendered.",
            untouched="Nothing was changed.",
            remedy=f"Give your file another name (git mv {OURS} compose.dev.yaml), and"
            f" put the template's in its place: git checkout FETCH_HEAD -- {OURS} while"
            " the merge is open; copier copy into another folder renders it at any time.",
        )


def shadowed(root: Path) -> str:
    """What to say where Compose passes over the developer's file; or nothing."""
    if is_foreign(root) or not (root / OURS).is_file():
        return ""
    theirs = next((name for name in _THEIRS if (root / name).is_file()), "")
    return theirs and (
        f"{theirs} is yours: a deploy does not read it, and on your own machine docker"
        f" compose finds {OURS} first. Type docker compose --file {theirs}, or write"
        f" COMPOSE_FILE={theirs} into .env."
    )
