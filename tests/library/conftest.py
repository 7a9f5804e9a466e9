"""Sites for the tests of the library; see `sites`."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.library.sites import GUNICORN, Server, Site, as_production, make_site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A developer's checkout, without a name."""
    return make_site(tmp_path / "checkout")


@pytest.fixture
def production(site: Site) -> Site:
    """The same, named, with a key and a host name; its data stays in the checkout."""
    return as_production(site)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A production site with its database and static files; to be read, not changed."""
    root = tmp_path_factory.mktemp("prepared") / "checkout"
    site = as_production(make_site(root))
    for words in (["migrate", "-v0"], ["collectstatic", "--noinput", "-v0"]):
        done = site.run("manage.py", *words)
        assert done.returncode == 0, done.stderr
    return site


@pytest.fixture
def ready(prepared: Site, tmp_path: Path) -> Site:
    """A production site like the prepared one, to be changed."""
    shutil.copytree(prepared.root, tmp_path / "ready", symlinks=True)
    return as_production(Site(tmp_path / "ready"))


@pytest.fixture(scope="session")
def server(prepared: Site) -> Iterator[Server]:
    """The prepared site under gunicorn, as the container runs it."""
    with prepared.serving(*GUNICORN, WEB_CONCURRENCY="1") as running:
        yield running


@pytest.fixture
def gunicorn() -> tuple[str, ...]:
    """The words that start gunicorn."""
    return GUNICORN
