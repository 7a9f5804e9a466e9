"""Arrows run one way: which module of the library may import which."""

import ast
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[2] / "stagetools"
NAMING = {"errors", "system"}
FINDING = NAMING | {"config", "places", "utils"}
DEFAULTS = NAMING | {"config", "csp", "logs", "mail", "secret_key"}
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "errors": set(),
    "system": {"errors"},
    "config": {"errors"},
    "places": NAMING | {"config"},
    "utils": NAMING | {"places"},
    # what the settings are made of
    "csp": {"errors"},
    "secret_key": NAMING | {"config"},
    "mail": NAMING | {"config"},
    "logs": NAMING | {"config"},
    "settings_defaults": DEFAULTS,
    "settings_defaults_with_sqlite": {"settings_defaults"},
    "settings_defaults_with_postgresql": {"settings_defaults"},
    # what serves
    "health": set(),
    "static": set(),
    "requests": {"health", "logs"},
    "serving": NAMING,
    "wsgi": {"bodies", "serving"},
    "asgi": {"serving"},
    "gunicorn_conf": {"logs", "static"},
    # what compares
    "comparison": {"system"},
    "inspection": NAMING | {"comparison"},
    "__main__": FINDING | {"comparison", "inspection"},
    # what is installed
    "units": {"system"},
    "etc": {"system", "units"},
    "commands": FINDING | {"etc"},
    "manage": NAMING | {"commands", "places"},
}


def imported(module: str) -> set[str]:
    """The modules of stagetools that this one imports, wherever in it."""
    tree = ast.parse((LIBRARY / f"{module}.py").read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    inside = {name for name in names if name.startswith("stagetools.")}
    return {name.removeprefix("stagetools.") for name in inside}


@pytest.mark.parametrize("module", MAY_IMPORT)
def test_a_module_imports_only_what_lies_below_it(module: str) -> None:
    assert imported(module) <= MAY_IMPORT[module]


def test_what_is_served_knows_nothing_of_deploys() -> None:
    for file in LIBRARY.glob("*.py"):
        assert not any(name.startswith("deploy") for name in imported(file.stem))


@pytest.mark.parametrize("file", sorted(LIBRARY.glob("*.py")), ids=lambda f: f.stem)
def test_a_module_has_one_job_and_room_for_it(file: Path) -> None:
    """300 lines, and a sentence that says which job it is."""
    text = file.read_text()
    assert len(text.splitlines()) <= 300
    assert ast.get_docstring(ast.parse(text))
