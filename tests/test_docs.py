"""Every task has its help, and its place in both READMEs."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from stagetools.utils import get_expected_system_from_name

ROOT = Path(__file__).parents[1]
READMES = {
    "the template's own README": (ROOT / "README.md").read_text(),
    "a project's README": (ROOT / "template/README.md.jinja").read_text(),
}


def load_tasks() -> ModuleType:
    """The tasks that every project gets, as its `inv` loads them."""
    env_setup = ModuleType("aaa_env_setup")
    env_setup.SYSTEM = get_expected_system_from_name("mysite_dev")  # type: ignore[attr-defined]
    spec = importlib.util.spec_from_file_location(
        "projects_tasks", ROOT / "template/tasks.py"
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get("aaa_env_setup")
    sys.modules["aaa_env_setup"] = env_setup
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules["aaa_env_setup"]
        if before:
            sys.modules["aaa_env_setup"] = before
    return module


NAMESPACE = load_tasks().namespace
TASKS = {name: NAMESPACE[name] for name in NAMESPACE.task_names}
# Invoke takes the help out of a task when it is first asked for the arguments.
ARGUMENTS = {name: task.get_arguments() for name, task in TASKS.items()}
CHANGE_THE_SERVER = {
    "deploy",
    "rollback",
    "restart",
    "env.set",
    "env.unset",
    "remove",
    "backup",
    "restore",
    "clone",
    "media.push",
}


@pytest.mark.parametrize("name", TASKS)
def test_every_task_says_in_a_line_what_it_does(name: str) -> None:
    first = (TASKS[name].__doc__ or "").splitlines()[0]
    assert first.endswith(".")
    assert len(first) <= 100


@pytest.mark.parametrize("name", TASKS)
def test_every_option_has_its_help(name: str) -> None:
    for argument in ARGUMENTS[name]:
        assert argument.help, f"inv {name}: {argument.name}"


@pytest.mark.parametrize("readme", READMES)
@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_a_place_in_the_readme(name: str, readme: str) -> None:
    assert re.search(rf"inv {re.escape(name)}(?![\w.])", READMES[readme])


@pytest.mark.parametrize("readme", READMES)
def test_no_readme_names_a_task_that_is_not_there(readme: str) -> None:
    own = {"demo"}  # the template's own chore
    named = set(re.findall(r"\binv ([a-z]+(?:\.[a-z]+)?)", READMES[readme]))
    assert named <= TASKS.keys() | own


@pytest.mark.parametrize("name", sorted(CHANGE_THE_SERVER))
def test_what_changes_a_server_can_be_tried_dry(name: str) -> None:
    assert "dry_run" in {argument.name for argument in ARGUMENTS[name]}


@pytest.mark.parametrize("name", sorted(TASKS.keys() - {"dev", "test", "check"}))
def test_every_task_on_a_server_takes_a_stage(name: str) -> None:
    arguments = {argument.name: argument for argument in ARGUMENTS[name]}
    assert "s" in arguments["stage"].names
    assert arguments["stage"].default == "prod"
