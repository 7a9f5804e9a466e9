"""The chapter on stagetools says what is so, and its steps can be pasted."""

import ast
import re
import subprocess
from pathlib import Path

import django
import pytest

from stagetools.utils import get_expected_system_from_name
from tests.library.sites import KEY, Site

REPOSITORY = Path(__file__).parents[2]
CHAPTER = (REPOSITORY / "docs/stagetools.md").read_text()
LIBRARY = REPOSITORY / "stagetools"
READERS = {"text", "words", "flag", "number", "choice", "directory", "find", "refusal"}
OF_SETTINGS = (
    "settings_defaults",
    "settings_defaults_with_sqlite",
    "settings_defaults_with_postgresql",
    "settings/mail",
    "settings/logs",
    "secret_key",
)


def table_after(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, without its head."""
    below = CHAPTER.split(f"{heading}\n", 1)[1]
    found = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)
    assert found
    lines = found[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def variables_read() -> set[str]:
    """Every name that a settings module asks the configuration for."""
    found = set()
    for module in OF_SETTINGS:
        for node in ast.walk(ast.parse((LIBRARY / f"{module}.py").read_text())):
            if not isinstance(node, ast.Call) or not isinstance(
                node.func, ast.Attribute
            ):
                continue
            first = node.args[0] if node.args else None
            if node.func.attr in READERS and isinstance(first, ast.Constant):
                found.add(str(first.value))
    return found


def test_the_table_has_every_attribute_with_its_value() -> None:
    system = get_expected_system_from_name("shop_prod")
    rows = table_after("### The attributes")
    told = {name.strip("`"): value.strip("`") for name, value in rows}
    public = {name for name in dir(system) if not name.startswith(("_", "own_"))}
    assert told.keys() == public - {"source"}
    assert told == {name: str(getattr(system, name)) for name in told}


def test_the_table_has_every_variable_that_the_settings_read() -> None:
    rows = table_after("## Settings")
    told = {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row[0])}
    assert told == variables_read()


@pytest.mark.parametrize("module", OF_SETTINGS[:3])
def test_a_settings_modules_docstring_names_its_variables(module: str) -> None:
    tree = ast.parse((LIBRARY / f"{module}.py").read_text())
    docstring = ast.get_docstring(tree) or ""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            first = node.args[0] if node.args else None
            if node.func.attr in READERS and isinstance(first, ast.Constant):
                assert str(first.value) in docstring


def blocks(section: str, language: str) -> list[str]:
    below = CHAPTER.split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(rf"```{language}\n(.*?)```", below, re.DOTALL)


@pytest.fixture
def plain(tmp_path: Path, site: Site) -> Site:
    """What `django-admin startproject config .` makes, and the files of the chapter."""
    site.root = tmp_path / "shop"
    site.root.mkdir()
    words = ["-m", "django", "startproject", "config", "."]
    assert site.run(*words, PYTHONPATH="").returncode == 0
    for block in blocks("A plain Django project", "python"):
        name = block.split("\n", 1)[0].removeprefix("# ")
        (site.root / name).parent.mkdir(exist_ok=True)
        (site.root / name).write_text(block)
    (site.root / "stagetools").symlink_to(LIBRARY)
    site.variables["PYTHONPATH"] = str(site.root)
    return site


def test_a_plain_project_becomes_an_installation_as_the_chapter_says(
    plain: Site,
) -> None:
    migrate = plain.run("-m", "stagetools.manage", "migrate", "-v0")
    assert migrate.returncode == 0, migrate.stderr
    assert (plain.root / "data/shop.sqlite3").exists()
    assert plain.run("-m", "stagetools").stdout.endswith(": as expected\n")
    production = {
        "STAGETOOLS_SYSTEM": "shop_prod",
        "SECRET_KEY": KEY,
        "ALLOWED_HOSTS": "shop.example.com",
    }
    if django.VERSION >= (6, 1):
        settings = plain.root / "stagetools_project/settings.py"
        (line,) = re.findall(r"`(MAILERS = .*?)`", CHAPTER)
        settings.write_text(f"{settings.read_text()}\n{line}\n")
    words = ("check", "--deploy", "--fail-level", "INFO")
    check = plain.run("-m", "stagetools.manage", *words, **production)
    assert check.returncode == 0, check.stderr
    served = plain.run("-c", "import stagetools.wsgi, stagetools.asgi", **production)
    assert served.returncode == 0, served.stderr


def test_the_commands_of_the_chapter_are_shell(tmp_path: Path) -> None:
    for block in re.findall(r"```console\n(.*?)```", CHAPTER, re.DOTALL):
        lines = [line[2:] for line in block.splitlines() if line[:2] in ("$ ", "# ")]
        assert lines
        subprocess.run(["sh", "-n"], input="\n".join(lines), text=True, check=True)


def test_every_link_within_the_repository_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", CHAPTER):
        if not target.startswith("https:"):
            assert (REPOSITORY / "docs" / target).exists(), target
