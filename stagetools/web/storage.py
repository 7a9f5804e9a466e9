"""Static files for pages that somebody else wrote: a name that is not there is no error.

Django looks for such a file even where its manifest is not strict, and the page is a 500.
"""

from collections.abc import Callable
from re import Match
from typing import Any
from urllib.parse import unquote, urlsplit

from django.core.exceptions import SuspiciousFileOperation
from whitenoise.storage import CompressedManifestStaticFilesStorage

__all__ = ["StaticStorage"]


class StaticStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
    """Hashed names for what the manifest has; what it lacks keeps its own.

    Unless the manifest is strict: then as WhiteNoise's.
    """

    def stored_name(self, name: str) -> str:
        """The hashed name, or `name`."""
        key = self.hash_key(self.clean_name(urlsplit(unquote(name)).path.strip()))
        if self.manifest_strict or key in self.hashed_files:
            return str(super().stored_name(name))
        return name

    def url_converter(
        self, name: str, *words: Any, **options: Any
    ) -> Callable[[Match[str]], str]:
        """A stylesheet's reference with its hash, or as it stands; as the image has them."""
        convert = super().url_converter(name, *words, **options)

        def converted(match: Match[str]) -> str:
            try:
                return str(convert(match))
            except (ValueError, OSError, SuspiciousFileOperation):
                if self.manifest_strict:
                    raise
                return match["matched"]

        return converted
