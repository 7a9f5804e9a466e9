"""What the project's command can do besides Django's commands, once it is installed.

shop init-etc [DIR] [--name NAME] [--hosts NAMES] [--systemd]
shop collectstatic --into DIR
shop compress DIR
"""

import argparse
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

from stagetools.config import ETC, Config
from stagetools.errors import ConfigError
from stagetools.naming.system import Source, System
from stagetools.utils import get_expected_system_from_name

__all__ = ["own_command"]

Django = Callable[[list[str]], None]
"""Runs one of Django's commands, given the words of its command line."""


def own_command(system: System, argv: list[str], django: Django) -> bool:
    """Run argv[1] if it is one of ours, and say whether it was."""
    own = {"init-etc": _init_etc, "compress": _compress}
    command, words = argv[1] if len(argv) > 1 else "help", argv[2:]
    if command == "compress" and _is_of_an_application(system, command):
        return False  # django-compressor's, whose users type it
    if command == "collectstatic" and any(w.startswith("--into") for w in words):
        _collect(system, argv, django)
    elif command in own:
        own[command](system, words)
    elif command in ("help", "--help") and not words:
        django(argv)
        _say(_help(system))
    else:
        return False
    return True


def _help(system: System) -> str:
    title, _, lines = (__doc__ or "").partition("\n\n")
    return f"{title}\n\n{lines.replace('shop', system.core_repo)}"


# --- collectstatic --into, compress --------------------------------------------------


def _collect(system: System, argv: list[str], django: Django) -> None:
    """Django's collectstatic into DIR, hashed and compressed whatever the stage."""
    parser = argparse.ArgumentParser(prog=f"{argv[0]} collectstatic", add_help=False)
    parser.add_argument("--into", type=Path, required=True, metavar="DIR")
    options, others = parser.parse_known_args(argv[2:])
    into = options.into.absolute()
    os.environ["STATIC_ROOT"] = str(into)
    os.environ["STAGETOOLS_STATIC_FILES"] = "hashed"
    _need_no_secrets(system)
    django([argv[0], "collectstatic", "--noinput", *others])
    _say(f"To serve them, set STATIC_ROOT = {into} (in {_config(system).path}).")


def _need_no_secrets(system: System) -> None:
    """A build has no key, and nobody visits it: one for this process alone will do."""
    config = _config(system)
    for name, value in (
        ("SECRET_KEY", secrets.token_urlsafe(50)),
        ("ALLOWED_HOSTS", "localhost"),
    ):
        if not config.text(name):
            os.environ[name] = value


def _is_of_an_application(system: System, command: str) -> bool:
    """Whether Django knows a command of that name. Ours need no settings that work."""
    import django
    from django.core.management import get_commands

    _need_no_secrets(system)
    try:
        django.setup()
    except Exception:
        return False
    return command in get_commands()


def _compress(system: System, words: list[str]) -> None:
    """Write a .gz, and with brotli installed a .br, beside each file that gets smaller."""
    parser = argparse.ArgumentParser(
        prog=f"{system.core_repo} compress", description=_compress.__doc__
    )
    parser.add_argument("directory", type=Path, metavar="DIR")
    directory = parser.parse_args(words).directory
    if not directory.is_dir():
        raise ConfigError(
            f"{directory} is not a directory.", remedy="Name one that is."
        )
    from whitenoise.compress import Compressor

    compressor = Compressor(quiet=True)
    files = [file for file in sorted(directory.rglob("*")) if file.is_file()]
    wanted = [file for file in files if compressor.should_compress(file.name)]
    made = [copy for file in wanted for copy in compressor.compress(str(file))]
    _say(f"{directory}: {len(files)} files, {len(made)} compressed copies written.")


# --- init-etc ------------------------------------------------------------------------


def _init_etc(system: System, words: list[str]) -> None:
    """Write settings.ini, with a new key, and the WSGI file; keep those that are there."""
    from stagetools.installed.etc import Etc

    options = _init_etc_parser(system).parse_args(words)
    expected = _installed(system, options.name)
    directory = (options.directory or ETC / system.core_repo).absolute()
    etc = Etc(expected, directory, tuple(options.hosts.split(",")))
    try:
        for line in etc.write(with_units=options.systemd):
            _say(line)
    except OSError as error:
        raise ConfigError(
            f"{error.filename} cannot be written: {error.strerror}.",
            untouched="What is there stays as it is.",
            remedy="Run as root, or name another directory.",
        ) from None


def _init_etc_parser(system: System) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"{system.core_repo} init-etc", description=_init_etc.__doc__
    )
    default = ETC / system.core_repo
    parser.add_argument("directory", nargs="?", type=Path, help=f"default: {default}")
    parser.add_argument("--name", help=f"the installation; {system.core_repo}_prod")
    parser.add_argument(
        "--hosts", default="", help="ALLOWED_HOSTS, separated by commas"
    )
    parser.add_argument("--systemd", action="store_true", help="write units as well")
    return parser


def _installed(system: System, name: str | None) -> System:
    """The installation to write files for: what is in /etc is no developer's."""
    if name is None and system.source is not Source.FALLBACK:
        return system
    name = name or f"{system.configuration}_prod"
    return get_expected_system_from_name(
        name, core_repo=system.core_repo, core_app=system.core_app
    )


def _config(system: System) -> Config:
    return Config.of(system.core_repo)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
