"""Which files begin, where several run at a time; and `--once`, each test with one of its cases.

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

# The longest first, or one of two workers ends long before the other. The site under attack
# comes well after the starved processor: both at once are more than two cores can do in time.
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


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where all cases run elsewhere, one of each shows what a machine lacks."""
    parser.addoption("--once", action="store_true", help="one case of each test")


def pytest_configure(config: pytest.Config) -> None:
    """Compile what has changed; the one who starts workers does it for them."""
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(LIBRARY, quiet=2)


@pytest.hookimpl(trylast=True)  # after pytest-randomly, whose order stays among equals
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Order the files; with `--once`, leave out what has the same function."""
    items.sort(key=place)
    if config.getoption("once"):
        kept = list({function(item): item for item in items}.values())
        config.hook.pytest_deselected(items=[i for i in items if i not in set(kept)])
        items[:] = kept


def place(item: pytest.Item) -> int:
    """Servers first: what waits for one leaves the other worker the processor."""
    if item.path.parent.name != "server":
        return len(FIRST) + (1 if item.path.stem in THEN else 2)
    return FIRST.index(item.path.stem) if item.path.stem in FIRST else len(FIRST)


def function(item: pytest.Item) -> tuple[str, str]:
    """A test without its case."""
    return str(item.path), item.nodeid.partition("[")[0]
