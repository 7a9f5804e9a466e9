"""Where benchmarks leave their tables: docs/benchmarks.md, a section each."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
DOCUMENT = REPOSITORY / "docs" / "benchmarks.md"


def made_by(command: str) -> str:
    """How, when and of what the figures were made."""
    words = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(
        words, cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.strip()
    return f"Made by `{command}` on {datetime.now(UTC):%Y-%m-%d}, at commit {commit}."


def machine() -> str:
    return f"{os.cpu_count()} cores of {platform.machine()}"


def write(name: str, text: str) -> None:
    """Put the section of `bench/<name>` in place of the one that was there, or at the end."""
    begin, end = f"<!-- bench/{name} -->", f"<!-- end of bench/{name} -->"
    section = f"{begin}\n{text}\n{end}"
    before = DOCUMENT.read_text() if DOCUMENT.exists() else "# Benchmarks\n"
    if begin in before:
        pattern = re.compile(f"{begin}.*{end}", re.S)
        DOCUMENT.write_text(pattern.sub(lambda _: section, before))
    else:
        DOCUMENT.write_text(f"{before}\n{section}\n")
