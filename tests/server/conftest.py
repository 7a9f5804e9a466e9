"""Real servers for the promises: each test says what it needs, and gets it fresh."""

import itertools
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import copier
import pytest

from tests.server import machines, warm
from tests.server.machines import Server
from tests.server.project import REPOSITORY, Project


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs servers; without an engine it says so."""
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in here:
        item.add_marker(pytest.mark.server)
    if here and not machines.engine_answers():
        for item in here:
            item.add_marker(pytest.mark.skip(reason="no Docker engine answers here"))


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return machines.make_key(tmp_path_factory.mktemp("key"))


@pytest.fixture(scope="session")
def images() -> None:
    machines.build_images()


@pytest.fixture(scope="module")
def new_server(storage: None, key: Path) -> Iterator[Callable[..., Server]]:
    """Make servers: `new_server("name", with_docker=True)`; they go when the module ends."""
    made: list[Server] = []
    numbers = itertools.count()

    def create(name: str, *, with_docker: bool = False, **options: object) -> Server:
        if with_docker:
            options |= {"with_docker": True, "before": warm.give}
        made.append(Server.create(f"{name}-{next(numbers)}", key, **options))  # type: ignore[arg-type]
        return made[-1]

    yield create
    for server in made:
        server.remove()


@pytest.fixture(scope="module")
def keeper(new_server: Callable[..., Server]) -> Server:
    """Another machine, which keeps what is sent to it."""
    server = new_server("keeper")
    server.run(
        "useradd --create-home keeper; install -d -m 0700 -o keeper -g keeper /home/keeper/.ssh"
    )
    return server


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as the working tree has it, committed in a repository of its own."""
    folder = tmp_path_factory.mktemp("template")
    shutil.copy(REPOSITORY / "copier.yml", folder)
    for part in ("template", "stagetools"):
        leave = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / part, folder / part, symlinks=True, ignore=leave)
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "The template"]):
        subprocess.run(["git", *identity, *words], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="session")
def storage(
    images: None, template: Path, key: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What an engine has fetched once it has deployed a project."""
    folder = tmp_path_factory.mktemp("storage")

    def deployed() -> Server:
        server = Server.create("storage", key, with_docker=True)
        project = rendered(template, folder / "mysite", key)
        project.target(server, domain="mysite.test")
        project.deploy()
        return server

    warm.keep(deployed)


def rendered(template: Path, root: Path, key: Path, **answers: str) -> Project:
    """A project with a home beside it."""
    copier.run_copy(
        str(template), root, data=answers, defaults=True, quiet=True, vcs_ref="HEAD"
    )
    return Project(root, root.parent / "home", key)


@pytest.fixture(scope="module")
def new_project(
    template: Path, key: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Project]:
    """Render projects: `new_project(project_slug="shop")`."""

    def create(**answers: str) -> Project:
        folder = tmp_path_factory.mktemp("project")
        root = folder / answers.get("project_slug", "mysite")
        return rendered(template, root, key, **answers)

    return create
