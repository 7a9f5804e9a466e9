"""On which server a site was until now: git has the earlier versions of deploy.toml."""

import os
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from stagetools.deploy.config import StageConfig

__all__ = ["LOST", "OLD_HOST", "hosts_before", "is_cut_off", "servers_before"]

OLD_HOST = "STAGETOOLS_OLD_HOST"
"""Of the environment of whoever deploys: where the site is; else git knows it."""
LOST = "lost"
"""In its place: the old server is lost, whatever git knows."""

_REMEMBERED = 100  # commits that changed the file
_ASKED = 5  # servers, each of which may be silent for some seconds
_WAYS: dict[str, type] = {"host": str, "user": str, "port": int, "identity_file": str}


def servers_before(file: Path, config: StageConfig) -> list[StageConfig]:
    """How each server was reached on which the site may be; the last one first."""
    named = os.environ.get(OLD_HOST, "")
    if named == LOST:
        return []
    if named:
        return [replace(config, host=named)]
    return list(islice(hosts_before(file, config), _ASKED))


def is_cut_off(file: Path) -> bool:
    """Whether git here lacks earlier commits (a shallow clone), and nobody has said where it was."""
    shallow = _git(file, "rev-parse", "--is-shallow-repository").strip() == "true"
    return shallow and not os.environ.get(OLD_HOST)


def hosts_before(path: Path, config: StageConfig) -> Iterator[StageConfig]:
    """The stage on each other server that the file's history has, the last one first."""
    seen = {config.host, ""}
    name, count = f"./{path.name}", f"--max-count={_REMEMBERED}"
    for commit in _git(path, "log", "--format=%H", count, "--", name).split():
        way = _way(_git(path, "show", f"{commit}:{name}"), config.stage_name)
        if way.get("host", "") not in seen:
            seen.add(way["host"])
            yield replace(config, **{key: kind() for key, kind in _WAYS.items()} | way)


def _way(text: str, stage_name: str) -> dict[str, Any]:
    """How the server was reached; nothing where the file was none that one can read."""
    try:
        table = tomllib.loads(text)["stages"][stage_name]
        return {k: table[k] for k, of in _WAYS.items() if type(table.get(k)) is of}
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError):
        return {}


def _git(path: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=path.parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return done.stdout
