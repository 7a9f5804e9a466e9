"""What the template renders: which files, how fast, and the same each time."""

import configparser
import re
import resource
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import copier
import plumbum
import pytest
import yaml

from tests.cases import one_fast
from tests.template.matrix import HOSTILE_NAME, ROOT

LARGEST = {"files": 60, "lines": 2000}  # DESIGN of the project, besides stagetools/
SECONDS = 3  # within which a project is rendered

PROMISED = [
    "pyproject.toml",
    "README.md",
    "tasks.py",
    "deploy.toml",
    "manage.py",
    "aaa_env_setup.py",
    "aaa_script_setup.py",
    "stagetools_project/settings.py",
    "stagetools_project/urls.py",
    "mysite/models.py",
    "mysite/views.py",
    "mysite/tests.py",
    "mysite/templates/home.html",
    "mysite/static/site/style.css",
    "mysite/migrations/0001_initial.py",
    "Dockerfile",
    "compose.yaml",
    ".dockerignore",
    ".gitignore",
    ".github/workflows/ci.yml",
    ".pre-commit-config.yaml",
    ".copier-answers.yml",
]


def ours(project):
    return [name for name in project.files if name.parts[0] != "stagetools"]


@pytest.mark.slow
def test_a_project_is_rendered_quickly_without_trust_or_network(template, tmp_path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = ["unshare", "--map-root-user", "--net"] if _can_unshare() else []
    copier_ = [sys.executable, "-m", "copier", "copy", "--defaults", "--vcs-ref=HEAD"]
    copy = [*words, *copier_, template, tmp_path / "project"]
    done = subprocess.run(copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used < SECONDS  # of a processor, which is what it costs on a quiet machine


def _can_unshare() -> bool:
    if not shutil.which("unshare"):
        return False
    words = ["unshare", "--map-root-user", "--net", "true"]
    return subprocess.run(words, capture_output=True).returncode == 0


@pytest.mark.slow
def test_the_same_answers_give_the_same_bytes(template, render, tmp_path):
    first = render()
    copier.run_copy(str(template), tmp_path, defaults=True, quiet=True, vcs_ref="HEAD")
    second = [p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file()]
    assert sorted(second) == sorted(first.files)
    for name in second:
        assert (tmp_path / name).read_bytes() == (first.path / name).read_bytes(), name
        modes = [(folder / name).stat().st_mode for folder in (tmp_path, first.path)]
        assert modes[0] == modes[1], name


def test_a_project_is_small_enough_to_be_read(render):
    project = render()
    files = ours(project)
    lines = sum((project.path / name).read_bytes().count(b"\n") for name in files)
    print(f"{len(files)} files, {lines} lines besides stagetools/")  # noqa: T201
    assert len(files) < LARGEST["files"]
    assert lines < LARGEST["lines"]


def test_the_promised_files_are_there(render):
    assert {Path(name) for name in PROMISED} <= set(render().files)


def test_the_library_is_rendered_as_real_files_and_verbatim(template, render):
    project = render()
    for name in project.files:
        if name.parts[0] == "stagetools":
            assert not (project.path / name).is_symlink()
            assert (project.path / name).read_bytes() == (template / name).read_bytes()
    assert not (project.path / "stagetools").is_symlink()


LINTED = """\
[tool.ruff]
line-length = 60
[tool.ruff.lint]
select = ["ALL"]
ignore = ["CPY", "D203", "D213", "PGH004"]
[tool.ruff.format]
quote-style = "single"
"""


@pytest.mark.parametrize("command", [["check", "--no-cache"], ["format", "--check"]])
def test_an_adopters_linter_has_nothing_to_say_of_our_files(
    render_light, tmp_path, command
):
    """Its own CI calls it, with rules that ours were not written by."""
    shutil.copytree(render_light(settings_module="shop.settings").path, tmp_path / "a")
    library = "stagetools/deploy/check/needs.py"
    (tmp_path / "a" / library).parent.mkdir(parents=True)
    shutil.copy(ROOT / library, tmp_path / "a" / library)
    (tmp_path / "a/pyproject.toml").write_text(LINTED)
    words = [sys.executable, "-m", "ruff", *command, "--quiet", "."]
    done = subprocess.run(words, cwd=tmp_path / "a", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


class _Compose(yaml.SafeLoader):
    """Compose's files may take values of the file below them back."""


_Compose.add_constructor("!reset", lambda loader, node: loader.construct_sequence(node))


@pytest.mark.slow
def test_files_that_a_program_reads_are_well_formed(render):
    project = render(project_name=HOSTILE_NAME)
    for name in project.files:
        match name.suffix:
            case ".toml":
                tomllib.loads(project.read(name))
            case ".yml" | ".yaml":
                yaml.load(project.read(name), Loader=_Compose)  # noqa: S506 - a SafeLoader
    editor = configparser.ConfigParser()
    editor.read_string("[top]\n" + project.read(".editorconfig"))


def test_an_awkward_name_survives_in_every_language(render):
    project = render(project_name=HOSTILE_NAME)
    described = tomllib.loads(project.read("pyproject.toml"))["project"]["description"]
    assert described == HOSTILE_NAME
    assert yaml.safe_load(project.read(".copier-answers.yml"))["project_name"] == (
        HOSTILE_NAME
    )
    heading = project.read("README.md").splitlines()[0].removeprefix("# ")
    assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", heading) == HOSTILE_NAME
    assert not re.search(r"(?<!\\)[<>*_`&~|]", heading)
    shown = project.run(
        "python",
        "-c",
        "import aaa_script_setup, html, sys\n"
        "from django.template.loader import render_to_string\n"
        "page = render_to_string('404.html')\n"
        "title = page.partition('<title>')[2].partition('</title>')[0]\n"
        "sys.stdout.reconfigure(encoding='utf-8')\n"
        "print(html.unescape(title), end='')",
    ).stdout
    assert shown.strip() == "Nothing here · " + HOSTILE_NAME


@pytest.mark.parametrize("django", one_fast(["5.2", "6.1"]))
def test_developers_ci_and_the_image_have_one_version_of_python(render_light, django):
    project = render_light(django=django)
    python = project.read(".python-version").strip()
    assert f"FROM python:{python}-slim AS base" in project.read("Dockerfile")
    declared = tomllib.loads(project.read("pyproject.toml"))["project"]
    assert declared["requires-python"] == f">={python}"
    # of .python-version: nothing may choose another one
    workflow = project.read(".github/workflows/ci.yml")
    assert "uv sync" in workflow
    assert "python-version" not in workflow


@pytest.mark.parametrize(("django", "policy"), [("5.2", True), ("6.1", False)])
def test_the_chosen_django_decides_on_packages(render_light, django, policy):
    project = tomllib.loads(render_light(django=django).read("pyproject.toml"))[
        "project"
    ]
    assert f"django~={django}.0" in project["dependencies"]
    assert any("django-csp" in name for name in project["dependencies"]) == policy


SECRETS = [".env", ".env.prod", "server.pem", "tls/site.key", "id_ed25519"]
DATA = ["data/mysite.sqlite3", "copy.sqlite3", "copy.sqlite3-wal", "media/a.jpg"]


@pytest.mark.parametrize("name", [*SECRETS, *DATA, "static/site/a.css", ".venv/a"])
def test_git_does_not_see_secrets_and_data(render_light, name):
    render_light().run("git", "check-ignore", name)


@pytest.mark.parametrize("name", [".env.example", "mysite/static/a.css", "uv.lock"])
def test_git_sees_what_is_written_by_hand(render_light, name):
    project = render_light()
    assert not project.run("git", "ls-files", "-ciz", "--exclude-standard").stdout
    unseen = subprocess.run(["git", "check-ignore", name], cwd=project.path)
    assert unseen.returncode == 1


def test_the_hooks_refuse_secrets_and_databases_alone(render_light):
    hooks = yaml.safe_load(render_light().read(".pre-commit-config.yaml"))["repos"][0][
        "hooks"
    ]
    refused = next(re.compile(h["files"]) for h in hooks if h["id"] == "secrets")
    for name in [*SECRETS, "data/mysite.sqlite3", "copy.sqlite3-wal"]:
        assert refused.search(name), name
    for name in [
        ".env.example",
        "mysite/views.py",
        "docs/environment.md",
        "id_rsa.pub",
    ]:
        assert not refused.search(name), name


@pytest.mark.parametrize(
    "source",
    one_fast(["gh:org/django-prod", "https://github.com/org/django-prod.git"]),
)
def test_the_readme_links_to_the_manual_of_its_version(
    light_template, tmp_path, git, source
):
    there = tmp_path / "template"
    shutil.copytree(light_template, there, symlinks=True)
    git(there, "tag", "v7.0.0")
    instead = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{there}.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/org/django-prod.git",
    }
    with plumbum.local.env(**instead):  # Copier's git has no other environment
        copier.run_copy(source, tmp_path / "project", defaults=True, quiet=True)
    readme = (tmp_path / "project/README.md").read_text()
    assert readme.startswith("# My Site\n\n")
    base = "https://github.com/org/django-prod/blob/v7.0.0/"
    pages = re.findall(rf"\({re.escape(base)}([^)]+)\)", readme)
    assert pages
    assert [page for page in pages if not (ROOT / page).is_file()] == []


def test_the_readme_lists_each_value_that_an_installation_reads(render_light):
    manual = (ROOT / "docs/stagetools.md").read_text()
    rows = re.findall(r"^\| (`[A-Z].*?) \|", manual.split("## Settings")[1], re.M)
    known = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    listed = re.findall(
        r"^\| (`[A-Z].*?) \|", render_light().read("README.md"), re.MULTILINE
    )
    told = {name for row in listed for name in re.findall(r"`(\w+)`", row)}
    postgresql = {name for name in known if name.startswith("DATABASE_")}
    assert told == known - postgresql | {"DATABASE_PATH"}
