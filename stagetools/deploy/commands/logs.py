"""Reading what the containers wrote, which journald keeps."""

import re

from stagetools.deploy.layout import Layout
from stagetools.deploy.shell import Command, looks, named, script, sh

__all__ = ["journal"]


@named
def journal(
    layout: Layout, *, tail: int, follow: bool, since: str, grep: str
) -> Command:
    """The installation's lines, of this release and of those before it, the oldest first."""
    words = ["journalctl", "--quiet", "--no-pager", "--output=cat"]
    words += [f"CONTAINER_TAG={layout.system.name}"]
    if grep:
        words += [f"--grep={re.escape(grep)}", "--case-sensitive=false"]
        return looks(
            script(_SEARCH, "yes" if follow else "", tail, _since(since), *words)
        )
    words += [f"--lines={tail}", *(["--follow"] if follow else [])]
    words += [f"--since={_since(since)}"] if since else []
    return looks(sh(*words))


# With a word to look for, journalctl goes backwards until it has enough lines, the newest
# first; so they are turned round, and what is written from then on is followed apart.
_SEARCH = """
follow=$1 lines=$2 since=$3; shift 3
journalctl --quiet --lines=0 ${since:+"--since=$since"}
now=$(date +%s.%6N); journalctl --sync
"$@" --lines="$lines" ${since:+"--since=$since"} --until="@$now" | tac
test -z "$follow" || exec "$@" --follow --no-tail --since="@$now"
"""


def _since(text: str) -> str:
    """journalctl wants a sign before a span: `1h` is an hour ago."""
    return f"-{text}" if text[:1].isdigit() and text[-1:].isalpha() else text
