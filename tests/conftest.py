"""Which files begin, where several run at a time.

Some 300 programs of the tests import the library, and most may leave nothing behind: each would
compile it again. So it is compiled before them, and the tests that pytest rewrites are kept,
also where the surroundings forbid it, as those of a container often do.
"""

import compileall
import sys
from pathlib import Path

import pytest

sys.dont_write_bytecode = False
LIBRARY = Path(__file__).parents[1] / "stagetools"

# The longest first, or one of two workers ends long before the other.
FIRST = (
    "test_switch",
    "test_ways_in",
    "test_readme",
    "test_interruptions",
    "test_faults",
    "test_database",
    "test_hostile",
    "test_django_versions",
    "test_walls",
    "test_disk",
    "test_update",
)
# Of those without a server: at the end one worker alone would be left with them.
THEN = ("test_backup", "test_pythons", "test_update", "test_adoption")


def pytest_configure(config: pytest.Config) -> None:
    """Compile what has changed; the one who starts workers does it for them."""
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(LIBRARY, quiet=2)


@pytest.hookimpl(trylast=True)  # after pytest-randomly, whose order stays among equals
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files."""
    items.sort(key=place)


def place(item: pytest.Item) -> int:
    """Servers first: what waits for one leaves the other worker the processor."""
    if item.path.parent.name != "server":
        return len(FIRST) + (1 if item.path.stem in THEN else 2)
    return FIRST.index(item.path.stem) if item.path.stem in FIRST else len(FIRST)
