"""Every combination of answers, rendered and read."""

import re
import sys
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import jinja2
import pytest
from packaging.requirements import Requirement

from tests.template.matrix import (
    ROOT,
    SAMPLES,
    combinations,
    label,
    offered,
    questions,
)

COMBINATIONS = list(combinations())
TURNS = max(len(samples) for samples in SAMPLES.values())
# Fast is each of the deciding answers once, and each of the others'; the rest is slow.
FAST = [COMBINATIONS[i * TURNS + i % TURNS] for i in range(len(COMBINATIONS) // TURNS)]
every = pytest.mark.parametrize(
    "answers",
    [
        pytest.param(chosen, marks=() if chosen in FAST else pytest.mark.slow)
        for chosen in COMBINATIONS
    ],
    ids=label,
)
# what a text may name though no file of that name is rendered
LATER = {"static/", "static-archive/", "uv.lock", ".venv/", "data/", "media/", "requirements.txt", "manage.py"}
ADOPTED = {"../requirements/production.txt", "pyproject.toml"}


@pytest.fixture
def project(render_light, answers):
    return render_light(**answers)


def ours(project) -> list[Path]:
    return [name for name in project.files if name.parts[0] != "stagetools"]


def test_every_question_has_its_values_here():
    free = [name for name, asked in questions().items() if "choices" not in asked]
    assert sorted(free) == sorted(SAMPLES)
    assert len({label(answers) for answers in COMBINATIONS}) == len(COMBINATIONS)
    assert {a["django"] for a in COMBINATIONS} == set(offered("django"))
    for name in questions():
        in_all = {answers.get(name) for answers in COMBINATIONS}
        assert {answers.get(name) for answers in FAST} == in_all, name


@every
def test_nothing_is_left_of_the_templates_own_language(project):
    for name in ours(project):
        text = project.read(name)
        assert not re.search(r"[{}]|\.jinja$", str(name)), name
        if name.suffix != ".yml":
            for word in ("project_slug", "settings_module"):
                assert word not in text, (name, word)
        if "templates" not in name.parts:  # Django's language looks the same
            assert not re.search(r"(?<!\$)\{\{|\{%|%\}", text), name


@every
def test_files_end_with_one_newline_and_lines_without_blanks(project):
    for name in project.files:
        text = (project.path / name).read_bytes().decode()
        assert "\r" not in text, name
        assert not re.search(r"[ \t]+$", text, re.MULTILINE), name
        assert not text or re.search(r"\A\S[\s\S]*\S\n\Z|\A\S\n\Z", text), name
        assert "\n\n\n\n" not in text, name


@every
def test_a_linter_and_a_formatter_have_nothing_to_say(project, render_light):
    rules = ["--config", str(render_light().path / "pyproject.toml")]
    beside = 'lint.isort.known-first-party = ["config", "stagetools"]'
    project.run("ruff", "check", "--quiet", *rules, "--config", beside, ".")
    project.run("ruff", "format", "--check", "--quiet", *rules, ".")


@every
def test_files_that_a_text_names_are_there(project, answers):
    texts = [name for name in ours(project) if name.suffix in (".md", ".yml", ".yaml")]
    there = {str(name) for name in project.files} | {"stagetools/"}
    there |= {f"{parent}/" for name in project.files for parent in name.parents}
    known = there | LATER | (ADOPTED if answers["settings_module"] else set())
    for text in texts:
        words = re.findall(r"`([\w./{}-]+)`", project.read(text))
        for word in words:
            if re.search(r"\.(py|toml|md|ya?ml|txt|lock)$|/$", word):
                assert word in known, (text, word)


@every
def test_templates_refer_to_templates_and_static_files_that_are_there(project):
    files = {str(name) for name in ours(project)}
    for name in ours(project):
        if "templates" not in name.parts:
            continue
        text = project.read(name)
        for kind, word in re.findall(
            r"{% (extends|include|static) ['\"](\S+)['\"]", text
        ):
            folder = "static" if kind == "static" else "templates"
            assert f"{name.parts[0]}/{folder}/{word}" in files, (name, word)


def reserved() -> set[str]:
    loader = jinja2.FileSystemLoader(ROOT / "template")
    names = jinja2.Environment(loader=loader, autoescape=True)
    module = names.get_template("_reserved_names.jinja").module
    return {str(name) for name in module.reserved}


def test_no_short_name_hides_a_module_of_python():
    modules = {name for name in sys.stdlib_module_names if name[0] != "_"}
    assert {m for m in modules if m.islower()} <= reserved()


def test_no_short_name_hides_a_package_that_a_project_installs(render_light):
    wanted = re.findall(r'^    "([\w.-]+)', project_text(render_light), re.MULTILINE)
    assert "django" in wanted
    closure: set[str] = set()
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if name not in closure:
            closure.add(name)
            wanted += requirements_of(name)
    brought = set()
    for package, owners in packages_distributions().items():
        normal = {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners}
        if normal & closure and re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", package):
            brought.add(package)
    assert "django" in brought
    assert sorted(brought - reserved()) == []


def project_text(render_light) -> str:
    text = render_light().read("pyproject.toml")
    return text.partition("dependencies = [")[2].partition("[tool.setuptools]")[0]


def requirements_of(name: str) -> list[str]:
    """What an installed distribution needs; nothing of one that is not installed here."""
    try:
        lines = distribution(name).requires or []
    except ModuleNotFoundError:
        return []
    parsed = [Requirement(line) for line in lines]
    return [r.name for r in parsed if not r.marker or r.marker.evaluate({"extra": ""})]
