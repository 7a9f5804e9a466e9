"""Static files: WhiteNoise, and the hashed files of earlier releases beside it.

A page that was loaded before a release was replaced asks for that release's stylesheet
afterwards. So each release leaves its hashed files in an archive (never its manifest), and
every release serves the archive too.
"""

import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

__all__ = ["StaticMiddleware", "keep_hashed_files"]

# what Django's manifest storage makes of `site.css`: `site.0123456789ab.css`
_HASHED = re.compile(r"\.[0-9a-f]{12}(\.[^/]*)?$")


_WHITENOISE = "whitenoise.middleware.WhiteNoiseMiddleware"
# an adopted project may have one of its own, made of WhiteNoise's: ours is made of that
_Base: Any = import_string(getattr(settings, "STAGETOOLS_WHITENOISE", _WHITENOISE))


class StaticMiddleware(_Base):  # type: ignore[misc]
    """WhiteNoise over STATIC_ROOT, then over STATIC_ARCHIVE; what is hashed never changes."""

    _theirs: Callable[[str, str], bool] | None = None

    def __init__(self, get_response: Any = None, **options: Any) -> None:
        archive = Path(getattr(settings, "STATIC_ARCHIVE", "") or "/nonexistent")
        self.archive, self.own = f"{archive}/", frozenset[str]()
        super().__init__(get_response, **options)
        if not self.autorefresh and archive.is_dir():
            self.own = frozenset(self.files)
            self.add_files(str(archive), prefix=self.static_prefix)

    def add_file_to_dictionary(self, url: str, path: str, **options: Any) -> None:
        """Read a file's size and headers, unless the release has it itself."""
        if url not in self.own:
            super().add_file_to_dictionary(url, path, **options)

    @property
    def immutable_file_test(self) -> Callable[[str, str], bool]:
        """True for the manifest's files, for every one in the archive, and for the project's."""
        return self._is_immutable

    @immutable_file_test.setter
    def immutable_file_test(self, test: Callable[[str, str], bool]) -> None:
        self._theirs = (
            test  # WHITENOISE_IMMUTABLE_FILE_TEST, in place of the manifest's
        )

    def _is_immutable(self, path: str, url: str) -> bool:
        if path.startswith(self.archive):
            return bool(_HASHED.search(url))
        if self._theirs and self._theirs(path, url):
            return True
        return bool(super().immutable_file_test(path, url))


def keep_hashed_files(static_root: Path, archive: Path) -> None:
    """Copy the hashed files into the archive, or mark as used the ones that are there.

    Whoever prunes the archive goes by the time of modification.
    """
    for file in _hashed_files(static_root):
        archived = archive / file.relative_to(static_root)
        if archived.exists():
            archived.touch()
            continue
        archived.parent.mkdir(parents=True, exist_ok=True)
        # never half a file under its name, nor two releases that write the same part
        part = archived.with_name(f"{archived.name}.{secrets.token_hex(4)}.part")
        shutil.copyfile(file, part)
        part.replace(archived)


def _hashed_files(root: Path) -> Iterator[Path]:
    """Those of the manifest storage, with their compressed copies."""
    for file in root.rglob("*.*"):
        name = file.name.removesuffix(".gz").removesuffix(".br")
        if file.is_file() and _HASHED.search(name):
            yield file
