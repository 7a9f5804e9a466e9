"""Hash and compress collected static files: `python static.py DIRECTORY CACHE`.

Alone in its stage of the image, with Django and WhiteNoise and not one line of the project,
so that the stage is built again only when a static file changes. Compressed copies are kept
in CACHE, by the hash of what they are made of.
"""

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["LENIENT", "main"]

LENIENT = ".lenient"
"""A file in DIRECTORY: a reference to what is not there is told, and ends no build."""


def main(directory: str, cache: str) -> None:
    """Leave hashed names, compressed copies and the manifest in DIRECTORY."""
    from django.conf import settings

    settings.configure(
        STATIC_URL="/static/",
        STATIC_ROOT=directory,
        WHITENOISE_KEEP_ONLY_HASHED_FILES=False,
    )
    root = Path(directory)
    is_lenient = (root / LENIENT).exists()
    (root / LENIENT).unlink(missing_ok=True)
    names = [str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()]
    unread = [name for name in sorted(names) if not _can_be_read(root / name)]
    missing = _hash(root, set(names) - set(unread), Path(cache))
    _tell(unread, missing, is_lenient=is_lenient)


def _can_be_read(path: Path) -> bool:
    """Whether Django can look for references in it; it would mix up two files if not."""
    if path.suffix not in (".css", ".js"):
        return True
    try:
        path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


# --- what is not as it should be ------------------------------------------------------

Reference = tuple[str, str, bool]
"""The file, the address in it of what is not there, and whether that is a source map."""


def _tell(unread: list[str], missing: list[Reference], *, is_lenient: bool) -> None:
    """All at once; and end the build, unless nobody would miss it.

    Nobody but a browser's developer tools asks for a source map.
    """
    maps = [f"{file}: {url}" for file, url, is_map in missing if is_map]
    others = [f"{file}: {url}" for file, url, is_map in missing if not is_map]
    _warn("Source maps that are not there, which only developer tools miss:", maps)
    if is_lenient:
        _warn("References to what is not there, left as they are:", others)
        _warn("Static files that are not UTF-8, and get no hash:", unread)
    elif others or unread:
        sys.exit("\n".join([*_refused(_LOST, others), *_refused(_UNREAD, unread)]))


_LOST = (
    "Static files refer to what is not there:",
    "Add each file, or remove the reference.",
)
_UNREAD = (
    "Static files are not UTF-8, so no reference in them can be hashed:",
    "Save each as UTF-8, or remove it.",
)


def _refused(words: tuple[str, str], rows: list[str]) -> list[str]:
    return [_listed(words[0], rows), words[1]] if rows else []


_SHOWN = 20  # of what is only worth knowing


def _warn(title: str, rows: list[str]) -> None:
    more = [f"and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
    if rows:
        sys.stdout.write(f"{_listed(f'! {title}', [*rows[:_SHOWN], *more])}\n")


def _listed(title: str, rows: list[str]) -> str:
    return "\n".join([title, *(f"    {row}" for row in rows)])


# --- hashing --------------------------------------------------------------------------


def _hash(root: Path, names: set[str], cache: Path) -> list[Reference]:
    """Hash these files, and return each reference to what is not there."""
    from django.core.files.storage import FileSystemStorage

    storage, files = _storage(cache), FileSystemStorage(location=root)
    for _, _, done in storage.post_process({name: (files, name) for name in names}):
        if isinstance(done, Exception):
            raise done
    return sorted(storage.missing)


def _storage(cache: Path) -> Any:
    from django.core.exceptions import SuspiciousFileOperation
    from whitenoise.storage import CompressedManifestStaticFilesStorage

    class CachedStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.missing: set[Reference] = set()

        def url_converter(self, name: str, *words: Any, **options: Any) -> Any:
            convert = super().url_converter(name, *words, **options)

            def converted(match: Any) -> Any:
                try:
                    return convert(match)
                except (ValueError, OSError, SuspiciousFileOperation):
                    is_map = "sourceMappingURL" in match["matched"]
                    self.missing.add((name, match["url"], is_map))
                    return match["matched"]

            return converted

        def create_compressor(self, **options: Any) -> Any:
            compressor = super().create_compressor(**options)
            compress = compressor.compress

            def cached(path: str) -> Iterator[str]:
                return _cached(cache, compress, path)

            compressor.compress = cached
            return compressor

    return CachedStorage()


def _cached(cache: Path, compress: Any, path: str) -> Iterator[str]:
    """The compressed copies of one file: from the cache, or made and kept there."""
    kept = cache / hashlib.sha256(Path(path).read_bytes()).hexdigest()
    if not kept.is_dir():
        _keep(list(compress(path)), kept)
    for copy in sorted(kept.iterdir()):
        made = path + copy.suffix
        shutil.copyfile(copy, made)
        yield made


def _keep(made: list[str], kept: Path) -> None:
    part = Path(tempfile.mkdtemp(dir=kept.parent))
    for path in made:
        shutil.copyfile(path, part / f"copy{Path(path).suffix}")
    try:
        part.rename(kept)
    except OSError:  # another thread kept the same content under another name
        shutil.rmtree(part)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
