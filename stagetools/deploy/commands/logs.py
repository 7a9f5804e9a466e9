"""Reading what the containers wrote, which journald keeps."""

from stagetools.deploy.layout import Layout
from stagetools.deploy.shell import Command, looks, sh

__all__ = ["journal"]


def journal(
    layout: Layout, *, tail: int, follow: bool, since: str, grep: str
) -> Command:
    """The installation's lines, of this release and of those before it."""
    words = ["journalctl", "--quiet", "--no-pager", "--output=cat", f"--lines={tail}"]
    words += ["--follow"] if follow else []
    words += [f"--since={_since(since)}"] if since else []
    words += [f"--grep={grep}", "--case-sensitive=false"] if grep else []
    return looks(sh(*words, f"CONTAINER_TAG={layout.system.name}"))


def _since(text: str) -> str:
    """journalctl wants a sign before a span: `1h` is an hour ago."""
    return f"-{text}" if text[:1].isdigit() and text[-1:].isalpha() else text
