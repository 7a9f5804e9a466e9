"""Which files begin, where several run at a time: those that take longest."""

import pytest

# Seconds of each on the machine of `.ci/run`, some of it spent waiting for servers.
LONGEST = {
    "server/test_switch.py": 370,
    "server/test_hostile.py": 330,
    "server/test_ways_in.py": 322,
    "server/test_interruptions.py": 280,
    "server/test_database.py": 235,
    "server/test_faults.py": 233,
    "server/test_readme.py": 217,
    "server/test_django_versions.py": 206,
    "server/test_update.py": 120,
    "server/test_walls.py": 120,
    "template/test_update.py": 120,
    "template/test_pythons.py": 120,
}
SERVERS = 60  # at the least: each makes one


def seconds(item: pytest.Item) -> int:
    """How long the item's file takes; none is worth a place of its own below a minute."""
    path = "/".join(item.path.parts[-2:])
    return LONGEST.get(path, SERVERS if path.startswith("server/") else 0)


@pytest.hookimpl(
    trylast=True
)  # after pytest-randomly's, whose order stays among equals
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file last would leave one of two workers without work."""
    items.sort(key=seconds, reverse=True)
