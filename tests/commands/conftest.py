"""A machine for the scripts, and the layout of `shop_prod` on it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stagetools.deploy.config import StageConfig
from stagetools.deploy.host.host import Host
from stagetools.deploy.host.site import Site
from stagetools.deploy.layout import Layout
from stagetools.utils import get_expected_system_from_name
from tests.commands.machine import Machine


@pytest.fixture
def layout() -> Layout:
    return Layout(get_expected_system_from_name("shop_prod"))


@pytest.fixture
def other() -> Layout:
    """Another installation of the same server."""
    return Layout(get_expected_system_from_name("blog_prod"))


@pytest.fixture
def at(layout: Layout) -> Callable[[Host], Site]:
    """`shop_prod` on such a machine."""
    return lambda machine: Site(machine, layout, StageConfig(stage_name="prod"))


@pytest.fixture
def machine(tmp_path: Path, layout: Layout) -> Machine:
    """A server on which `shop_prod` has an account, and no release yet."""
    made = Machine(tmp_path)
    made.program(  # whoever runs the test is the account, too
        "setpriv", 'until test "$1" = --; do shift; done; shift; exec "$@"'
    )
    for place in (
        *(layout.data_dir, layout.media_dir, layout.backups_dir, layout.assets_dir),
        *(layout.releases_dir, layout.run_dir, layout.lock_file.parent),
        *(layout.site_dir.parents[1] / "hosts", "/run/lock"),
    ):
        made.at(place).mkdir(parents=True, exist_ok=True)
    return made
