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

__all__ = ["main"]


def main(directory: str, cache: str) -> None:
    """Leave hashed names, compressed copies and the manifest in DIRECTORY."""
    from django.conf import settings

    settings.configure(
        STATIC_URL="/static/",
        STATIC_ROOT=directory,
        WHITENOISE_KEEP_ONLY_HASHED_FILES=False,
    )
    from django.core.files.storage import FileSystemStorage

    storage = _storage(Path(cache))
    root = FileSystemStorage(location=directory)
    names = [
        str(path.relative_to(directory))
        for path in Path(directory).rglob("*")
        if path.is_file()
    ]
    for _, _, done in storage.post_process({name: (root, name) for name in names}):
        if isinstance(done, Exception):
            raise done


def _storage(cache: Path) -> Any:
    from whitenoise.storage import CompressedManifestStaticFilesStorage

    class CachedStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
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
