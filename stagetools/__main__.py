"""`python -m stagetools`: is this installation what its name promises?

Prints each difference on a line, with how to fix it. Exit 0: none; 1: there are some;
2: it has no name. `--json` prints both systems and the differences for a program.
"""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stagetools.errors import StageError
from stagetools.naming.comparison import (
    ATTRIBUTES,
    Difference,
    compare_account,
    compare_entries,
    compare_systems,
    entries_of,
)
from stagetools.naming.inspection import look_here, values_of_process
from stagetools.naming.system import Source, System
from stagetools.utils import get_actual_system_from_name, get_expected_system_from_name

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = _parser().parse_args(argv)
    try:
        actual = _actual()
        expected = _expected(actual, options)
        differences = list(compare(expected, actual))
    except StageError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    show = _as_json if options.json else _as_text
    sys.stdout.write(show(expected, actual, differences))
    return 1 if differences else 0


def compare(expected: System, actual: System) -> Iterator[Difference]:
    """Everything that differs, as seen from inside this process."""
    in_container = "STAGETOOLS_RELEASE" in os.environ
    try:
        values = values_of_process(actual, in_container=in_container)
    except Exception as error:  # whatever the project's settings may raise
        what = f"{type(error).__name__}: {error}".replace("\n", " ")
        yield Difference("settings", "to load", what, "fix that first")
        return
    yield from compare_systems(expected, values)
    if actual.source is Source.FALLBACK:
        return  # a developer's checkout has no account and no directories of its own
    entries = entries_of(expected)
    facts = look_here(expected, entries)
    yield from compare_account(expected, facts)
    yield from compare_entries(entries, facts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m stagetools",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--name", help="compare with this installation instead")
    parser.add_argument("--base-dir", type=Path, help="where it should be")
    return parser


def _actual() -> System:
    """The project's own answer where there is one, for it knows its repository's name."""
    sys.path.insert(0, str(Path.cwd()))
    if find_spec("aaa_env_setup"):
        import aaa_env_setup

        system: System = aaa_env_setup.SYSTEM
        return system
    return get_actual_system_from_name()


def _expected(actual: System, options: argparse.Namespace) -> System:
    """What the name promises; a checkout that nobody named is right where it is."""
    if actual.source is Source.FALLBACK and not options.name:
        return dataclasses.replace(actual, base_dir=options.base_dir or actual.base_dir)
    return get_expected_system_from_name(
        options.name or actual.name,
        options.base_dir,
        actual.core_repo,
        actual.core_app,
    )


def _as_text(expected: System, actual: System, differences: list[Difference]) -> str:
    head = f"{expected.name} at {expected.base_dir}, its name from {actual.source}"
    if not differences:
        return f"{head}: as expected\n"
    lines = [head, *map(str, differences)]
    return "\n".join(lines) + "\n"


def _as_json(expected: System, actual: System, differences: list[Difference]) -> str:
    said: dict[str, Any] = {
        "expected": _attributes(expected),
        "actual": _attributes(actual),
        "differences": [difference.as_dict() for difference in differences],
    }
    return json.dumps(said, indent=2) + "\n"


def _attributes(system: System) -> dict[str, str]:
    names = ("name", "source", "stage", *ATTRIBUTES)
    return {name: str(getattr(system, name)) for name in names}


if __name__ == "__main__":
    sys.exit(main())
