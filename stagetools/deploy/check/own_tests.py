"""A project's tests, run as the project itself runs them, and told of while they run."""

import configparser
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from stagetools.adopted import source_dir
from stagetools.deploy.check.project import pyproject, text, wrapped_settings

__all__ = ["Command", "command", "run", "watched"]

Command = tuple[tuple[str, ...], Path, dict[str, str]]
"""Words for this Python, the folder to run them in, and the environment."""

_SETTINGS = "DJANGO_SETTINGS_MODULE"
_WRAPPED = "stagetools_project.settings"
_NAMES_SETTINGS = ("django_settings_module", "--ds", "settings.configure(")
_SOON, _SELDOM = 10.0, 60.0  # seconds between two words of a program that goes on
_SO_FAR = re.compile(rb"\[ *(\d+)%\]")


def run(root: Path, only: str = "") -> int:
    """Run the tests, or those whose name contains a word; the exit status."""
    words, folder, environment = command(root)
    chosen = ["-k", only] if only else []
    whole = [sys.executable, *words, *chosen]
    return subprocess.run(whole, cwd=folder, env=environment, check=False).returncode


def command(root: Path) -> Command:
    """pytest where the project has set it up, with its own settings; else Django's own."""
    if find_spec("pytest"):
        for folder in _folders(root):
            configured = _pytest_of(folder)
            if configured is not None:
                environment = _environment(root, folder, configured)
                return ("-m", "pytest", "-q"), folder, environment
    django = ("-m", "stagetools.manage", "test", "--verbosity=0")
    return django, root, dict(os.environ)


def _folders(root: Path) -> list[Path]:
    """Where tests are configured: at the top, or beside the project's own manage.py."""
    wrapped = wrapped_settings(root)
    folder = source_dir(root, wrapped) if wrapped else None
    return [root, folder] if folder and folder != root else [root]


def _pytest_of(folder: Path) -> str | None:
    """What configures pytest in a folder; None if nothing does."""
    for name in ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini"):
        if (folder / name).is_file():
            return text(folder / name)
    tools = pyproject(folder).get("tool", {})
    if "pytest" in tools:
        return str(tools["pytest"])
    for name, section in (("tox.ini", "pytest"), ("setup.cfg", "tool:pytest")):
        ini = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            ini.read_string(text(folder / name))
        except configparser.Error:
            continue
        if ini.has_section(section):
            return str(dict(ini[section]))
    return None


def _environment(root: Path, folder: Path, configured: str) -> dict[str, str]:
    """This one's; without our settings where the project names its own for its tests.

    pytest-django takes an exported name before that of pyproject.toml, and `inv` exports ours.
    """
    environment, own = dict(os.environ), {root, folder, *_folders(root)}
    conftests = [f / name for f in own for name in ("conftest.py", "tests/conftest.py")]
    said = [configured, *map(text, conftests)]
    names = any(word in s.lower() for s in said for word in _NAMES_SETTINGS)
    if names and environment.get(_SETTINGS) == _WRAPPED:
        del environment[_SETTINGS]
        if sources := _folders(root)[1:]:  # which our settings would have added
            paths = [str(sources[0]), environment.get("PYTHONPATH", "")]
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return environment


def watched(
    title: str,
    words: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    output: Path,
    say: Callable[[str], None],
    soon: float = _SOON,
) -> tuple[int, str]:
    """Run a program that may take minutes, and say how far it is; its status and words."""
    with output.open("wb") as into:
        running = subprocess.Popen(
            words, cwd=folder, env=environment, stdout=into, stderr=subprocess.STDOUT
        )
    try:
        status = _waited(running, title, output, say, soon)
    except BaseException:
        running.kill()
        running.wait()
        raise
    return status, output.read_text(encoding="utf-8", errors="replace")


def _waited(
    running: subprocess.Popen[bytes],
    title: str,
    output: Path,
    say: Callable[[str], None],
    pause: float,
) -> int:
    began = time.monotonic()
    while True:
        try:
            return running.wait(timeout=pause)
        except subprocess.TimeoutExpired:
            far = _SO_FAR.findall(output.read_bytes())
            part = f", {far[-1].decode()} %" if far else ""
            say(f"· {title}: {time.monotonic() - began:.0f} s so far{part}")
            pause = min(pause * 2, _SELDOM)
