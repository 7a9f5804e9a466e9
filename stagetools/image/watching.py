"""Which files of the project its settings open while they are imported.

What git ignores is not in the image, and nothing in its folder can be written on a server:
both work here, and end there with an error in the middle of an import.
"""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = ["Watch"]

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_LISTS = ("os.listdir", "os.scandir")
_CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.symlink")
# what Python itself opens to import a module or find a distribution
_MACHINERY = (".py", ".pyc", ".so", ".mo", "METADATA", "PKG-INFO", "entry_points.txt")


@dataclass
class Watch:
    """Notes files below `root`, and the line of the project that opened each of them."""

    root: Path
    read: dict[str, str] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)
    met: dict[str, str] = field(default_factory=dict)
    """Folders that it would have made, and that were there."""
    is_on: bool = True

    def __post_init__(self) -> None:
        sys.addaudithook(self._note)  # there is no way to take it back

    def end(self) -> None:
        """Note nothing more."""
        self.is_on = False

    def _note(self, event: str, words: tuple[Any, ...]) -> None:
        if not self.is_on or event not in ("open", *_LISTS, *_CHANGES):
            return
        name = self._of_the_project(words[0])
        if name and (line := self._line(sys._getframe(1))):
            self._kind(event, words).setdefault(name, line)

    def _kind(self, event: str, words: tuple[Any, ...]) -> dict[str, str]:
        if event == "os.mkdir" and os.path.isdir(words[0]):  # noqa: PTH112 - may be bytes
            return self.met
        is_open_to_write = event == "open" and bool(words[2] & _WRITES)
        is_change = event in _CHANGES or is_open_to_write
        return self.written if is_change else self.read

    def _of_the_project(self, path: Any) -> str:
        """Its name below the root; nothing for what is elsewhere, or an environment's."""
        if not isinstance(path, (str, bytes, os.PathLike)):
            return ""  # a file that is open already
        whole = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - no link is followed
        if whole.endswith(_MACHINERY) or _is_below(whole, sys.prefix):
            return ""
        return whole[len(str(self.root)) + 1 :] if _is_below(whole, self.root) else ""

    def _line(self, frame: FrameType | None) -> str:
        """The innermost line of the project's own that led here."""
        while frame:
            name = self._of_the_module(frame.f_code.co_filename)
            if name and not name.startswith("stagetools/"):
                return f"{name}:{frame.f_lineno}"
            frame = frame.f_back
        return ""

    def _of_the_module(self, path: str) -> str:
        is_own = _is_below(path, self.root) and not _is_below(path, sys.prefix)
        return path[len(str(self.root)) + 1 :] if is_own else ""


def _is_below(path: str, folder: str | Path) -> bool:
    return path.startswith(f"{folder}/")
