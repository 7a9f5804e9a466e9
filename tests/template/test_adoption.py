"""An existing project, adopted: nothing of its own is touched, and what it had stays."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import copier
import pytest

from stagetools.adopted import add_source_dir, source_dir
from stagetools.deploy.tasks import readiness
from stagetools.deploy.tasks.readiness import problems_of_files, remedy_for
from tests.template import existing
from tests.template.conftest import Project, git
from tests.template.history import files
from tests.template.matrix import ROOT

STAND_IN = "stand_in(SYSTEM, HERONRY_DATABASE='heronry.sqlite3')"


def adopt(template: Path, project: Path, **answers: str) -> str:
    """Render beside the project, and merge; what the merge said."""
    rendered = project.with_name(f"{project.name}-template")
    copier.run_copy(
        str(template), rendered, data=answers, defaults=True, quiet=True, vcs_ref="HEAD"
    )
    existing.committed(rendered)
    git(project, "fetch", "--quiet", str(rendered), "HEAD")
    words = ["--allow-unrelated-histories", "--message=Adopt", "FETCH_HEAD"]
    return git(project, "merge", *words)


@pytest.fixture(scope="session")
def awkward(template, tmp_path_factory) -> Project:
    project = existing.awkward(tmp_path_factory.mktemp("awkward") / "heronry")
    before = files(project)
    adopt(template, project, **existing.AWKWARD)
    assert {name: files(project)[name] for name in before} == before
    settings = project / "stagetools_project/settings.py"
    settings.write_text(settings.read_text().replace("stand_in(SYSTEM)", STAND_IN))
    return Project(project)


@pytest.fixture(scope="session")
def plain(template, tmp_path_factory) -> Project:
    project = existing.plain(tmp_path_factory.mktemp("plain") / "shop")
    before = files(project)
    adopt(template, project, **existing.PLAIN)
    assert {name: files(project)[name] for name in before} == before
    return Project(project)


PRODUCTION = {
    "STAGETOOLS_SYSTEM": "heronry_prod",
    "HERONRY_DATABASE": "elsewhere.sqlite3",
    "SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "ALLOWED_HOSTS": "heronry.example.com",
}
DUMP = """
import aaa_script_setup, json
from django.conf import settings
names = [name for name in dir(settings) if name.isupper()]
print(json.dumps({name: getattr(settings, name) for name in names}, default=str))
"""
VISIT = """
import aaa_script_setup
from django.test import Client
for path in ("/media/page.html", "/media/../secret.txt", "/media/none"):
    answer = Client().get(path, secure=True, HTTP_HOST="heronry.example.com")
    print(answer.status_code, answer.headers.get("Content-Security-Policy", ""))
"""


def settings_of(project: Project, **variables: str) -> dict[str, Any]:
    """Every setting, as the wrapped settings have it in production."""
    done = project.run("python", "-c", DUMP, **PRODUCTION | variables)
    return json.loads(done.stdout)


@pytest.fixture(scope="session")
def wrapped(awkward) -> dict[str, Any]:
    return settings_of(awkward)


@pytest.mark.slow
def test_the_projects_own_tests_are_green_with_both_settings(awkward, plain):
    variables = {"HERONRY_DATABASE": "own.sqlite3"}
    existing.python(awkward.path / "src", "manage.py", "test", **variables)
    existing.python(plain.path, "manage.py", "test")
    awkward.run("inv", "test")
    plain.run("inv", "test")


@pytest.mark.slow
def test_ours_are_the_database_the_hosts_and_the_key(wrapped):
    default = wrapped["DATABASES"]["default"]
    assert default["NAME"].endswith("/data/heronry.sqlite3")
    assert default["ATOMIC_REQUESTS"]
    assert "WAL" in default["OPTIONS"]["init_command"]
    assert wrapped["ALLOWED_HOSTS"] == ["heronry.example.com"]
    assert wrapped["SECRET_KEY"] == PRODUCTION["SECRET_KEY"]
    assert not wrapped["DEBUG"]
    assert wrapped["SECURE_SSL_REDIRECT"]


def test_theirs_are_the_urls_the_users_and_the_keys_of_rows(wrapped):
    assert wrapped["ROOT_URLCONF"] == "config.urls"
    assert wrapped["AUTH_USER_MODEL"] == "people.Person"
    assert wrapped["DEFAULT_AUTO_FIELD"].endswith(".AutoField")


def test_middleware_of_ours_stands_where_it_belongs(wrapped):
    rows = wrapped["MIDDLEWARE"]
    names = [row.rpartition(".")[2].removesuffix("Middleware") for row in rows]
    assert " ".join(names) == (
        "Request Health GZip Security CSP Static Media Session Common CsrfView"
        " Authentication Message Motto XFrameOptions"
    )


def test_the_settings_of_django_4_are_understood(wrapped):
    storages = {name: s["BACKEND"] for name, s in wrapped["STORAGES"].items()}
    assert storages == {
        "staticfiles": "whitenoise.storage.CompressedManifestStaticFilesStorage",
        "default": "django.core.files.storage.FileSystemStorage",
    }
    gone = {"STATICFILES_STORAGE", "DEFAULT_FILE_STORAGE", "USE_L10N"}
    assert not gone & set(wrapped)


def test_static_files_are_not_collected_into_their_own_folder(awkward):
    folder = str(awkward.path / "static")
    root = settings_of(awkward, STATIC_ROOT=folder)["STATIC_ROOT"]
    assert root == str(awkward.path / "static-collected")


def test_a_log_file_of_theirs_is_not_written(wrapped):
    assert set(wrapped["LOGGING"]["handlers"]) == {"stdout", "mail_admins"}
    assert wrapped["LOGGING"]["loggers"]["apps"] == {"level": "DEBUG"}


def test_uploads_are_served_and_nothing_in_them_runs(awkward, tmp_path):
    media = tmp_path / "media"
    media.mkdir()
    (media / "page.html").write_text("<script>alert(1)</script>")
    (tmp_path / "secret.txt").write_text("secret")
    variables = PRODUCTION | {"MEDIA_ROOT": str(media)}
    done = awkward.run("python", "-c", VISIT, **variables)
    lines = done.stdout.splitlines()  # the log's among them
    page, outside, none = (line for line in lines if line[3:4] == " ")
    assert page.startswith("200 ")
    assert "sandbox" in page
    assert outside[:3] in ("400", "404")
    assert none.startswith("404")


def test_a_policy_is_only_reported_until_somebody_sets_one(wrapped):
    assert "CONTENT_SECURITY_POLICY_REPORT_ONLY" in wrapped
    assert "CONTENT_SECURITY_POLICY" not in wrapped


@pytest.mark.slow
def test_production_starts_with_the_plain_project_too(plain):
    wrapped = settings_of(plain)
    assert wrapped["ROOT_URLCONF"] == "shop.urls"
    assert wrapped["DATABASES"]["default"]["NAME"].endswith("/data/shop.sqlite3")
    assert "django-insecure" not in wrapped["SECRET_KEY"]


@pytest.mark.parametrize("layout", ["", "src", "site", "mysite"])
def test_the_projects_modules_are_found_in_any_layout(tmp_path, monkeypatch, layout):
    package = tmp_path / layout / "mysite"
    package.mkdir(parents=True)
    (package / "settings.py").touch()
    (tmp_path / "docs/mysite").mkdir(parents=True)
    assert source_dir(tmp_path, "mysite.settings") == tmp_path / layout
    monkeypatch.setattr(sys, "path", ["/first"])
    add_source_dir(tmp_path, "mysite.settings")
    assert sys.path == ([str(tmp_path / layout)] if layout else []) + ["/first"]


def test_an_installed_projects_modules_are_left_to_python(tmp_path):
    assert source_dir(tmp_path, "elsewhere.settings") is None


def test_a_merge_names_the_file_that_both_have_and_touches_no_other(
    light_template, tmp_path
):
    project = existing.plain(tmp_path / "shop")
    (project / "Dockerfile").write_text("FROM scratch\n")
    existing.commit_all(project, "A Dockerfile of theirs")
    before = files(project)
    with pytest.raises(subprocess.CalledProcessError) as stopped:
        adopt(light_template, project, **existing.PLAIN)
    assert "CONFLICT (add/add): Merge conflict in Dockerfile" in stopped.value.stdout
    assert git(project, "diff", "--name-only", "--diff-filter=U").split() == [
        "Dockerfile"
    ]
    changed = [name for name in before if files(project)[name] != before[name]]
    assert changed == ["Dockerfile"]
    kept = GUIDE.partition("for each file that the merge has named, the last")[2]
    words = re.findall(r"```console\n(.*?)```", kept, re.DOTALL)[0]
    identity = {"GIT_AUTHOR_NAME": "A", "GIT_COMMITTER_NAME": "A", "EMAIL": "a@b.c"}
    subprocess.run(
        ["bash", "-euc", words], cwd=project, check=True, env=os.environ | identity
    )
    assert "stagetools.gunicorn_conf" in (project / "Dockerfile").read_text()
    assert (project / "Dockerfile.before").read_text() == "FROM scratch\n"
    assert not git(project, "status", "--short")
    assert len(git(project, "log", "--format=%p", "-1").split()) == 2


# --- docs/adopt.md --------------------------------------------------------------------

GUIDE = (ROOT / "docs/adopt.md").read_text()
NEVER_THERE = ("stagetools", "stagetools_project", ".copier-answers.yml")


def test_the_guide_names_every_file_that_a_project_may_have_too(render_light):
    rendered = render_light(**existing.PLAIN).files
    meet = {str(n) for n in rendered if n.parts[0] not in NEVER_THERE}
    line = next(line for line in GUIDE.splitlines() if line.startswith("Only these"))
    named = set(re.findall(r"`([^`]+)`", line))
    assert named == {name for name in meet if not name.startswith("aaa_")}


def test_the_guides_commands_are_those_that_copier_prints(
    light_template, tmp_path, monkeypatch, capfd
):
    (tmp_path / "shop").mkdir()
    monkeypatch.chdir(tmp_path / "shop")
    data = {"settings_module": "shop.settings", "project_slug": "shop"}
    copier.run_copy(
        str(light_template),
        "../shop-template",
        data=data,
        defaults=True,
        vcs_ref="HEAD",
    )
    told = re.findall(r"^  (\S.*)$", capfd.readouterr().err, re.MULTILINE)
    commands = [line for line in told if line.startswith(("git ", "pip ", "inv "))]
    assert len(commands) == 8
    in_guide = "\n".join(re.findall(r"```console\n(.*?)```", GUIDE, re.DOTALL))
    assert [line for line in commands if line in in_guide.splitlines()] == commands


def test_a_setting_that_the_guide_names_is_one_that_is_wrapped():
    source = (ROOT / "stagetools/adopted.py").read_text()
    table = GUIDE.partition("## What the wrapping changes")[2]
    for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE):
        for name in re.findall(r"`([A-Z_]+)", row):
            assert name in source, name


# --- inv check ------------------------------------------------------------------------


@pytest.mark.slow
def test_check_says_what_is_missing_and_is_content_once_it_is_there(template, tmp_path):
    project = Project(existing.awkward(tmp_path / "heronry"))
    adopt(template, project.path, **existing.AWKWARD)
    (project.path / "notes.db").write_text("mine")
    inv = [sys.executable, "-m", "invoke", "check"]
    first = subprocess.run(inv, cwd=project.path, capture_output=True, text=True)
    assert first.returncode == 1
    assert "stand_in(SYSTEM, HERONRY_DATABASE=" in first.stdout
    assert "inv env.set HERONRY_DATABASE=" in first.stdout
    assert "not uploaded: notes.db (a database that git does not track)" in first.stdout
    assert "Traceback" not in first.stderr
    settings = project.path / "stagetools_project/settings.py"
    settings.write_text(settings.read_text().replace("stand_in(SYSTEM)", STAND_IN))
    project.run("inv", "check")


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("KeyError: 'MAIL_KEY'", "inv env.set MAIL_KEY=VALUE"),
        ("ImproperlyConfigured: Set the MAIL_KEY environment variable", "MAIL_KEY"),
        ("decouple.UndefinedValueError: MAIL_KEY not found.", "stand_in"),
        (
            "ModuleNotFoundError: No module named 'pillow'",
            "declare the package of pillow",
        ),
        ("The file 'a/b.png' could not be found with <…>", "a/b.png"),
        ("Migrations for 'birds':", "makemigrations birds"),
        (
            "CommandError: Conflicting migrations detected; multiple leaf nodes in the"
            " migration graph: (0002_bird, 0002_entry_picture in shop).",
            "makemigrations --merge; or, where one of them (0002_bird, 0002_entry_picture",
        ),
        ("something else entirely", ""),
    ],
)
def test_a_known_failure_has_its_remedy(said, advice):
    assert advice in remedy_for(said)
    assert bool(advice) == bool(remedy_for(said))


@pytest.mark.parametrize(
    ("said", "option"),
    [
        ("FAILED shop/tests.py::test_a[1-2] - assert 0", " --only test_a"),
        ("FAILED shop/tests.py::TestCart::test_b", " --only test_b"),
        ("FAIL: test_c (shop.tests.Cart.test_c)", " --only test_c"),
        ("ERROR: test_d (shop.tests.Cart.test_d)", " --only test_d"),
        ("ERROR shop/tests.py", ""),
        ("nothing of the kind", ""),
    ],
)
def test_a_failed_test_is_named_in_what_to_type(said, option):
    assert readiness._with_advice(f"...\n{said}", "inv test{0}").endswith(
        f"  → inv test{option}"
    )


def test_what_is_worth_knowing_is_told_though_nothing_failed(tmp_path, monkeypatch):
    words = (sys.executable, "-c", "print('a log\\n! this\\n  → do that')")
    told = readiness.Program("static files", words, "", notes=True)
    silent = readiness.Program("settings", words, "")
    monkeypatch.setattr(readiness, "_programs", lambda *_: [told, silent])
    monkeypatch.setattr(readiness, "problems_of_files", lambda root: [])
    said: list[str] = []
    readiness.check(tmp_path, said.append)
    assert said == ["✓ static files\n! this\n  → do that", "✓ settings"]


def test_what_git_would_track_and_what_the_image_would_lack_is_said(tmp_path):
    git(tmp_path, "init", "--quiet")
    (tmp_path / ".copier-answers.yml").write_text("settings_module: shop.settings\n")
    (tmp_path / ".env").write_text("A=B\n")
    assert len(list(problems_of_files(tmp_path))) == 3
    (tmp_path / ".gitignore").write_text(".env*\n*.sqlite3*\n")
    (tmp_path / "requirements.txt").write_text("Django==4.2.16 \\\n  --hash=sha256:0\n")
    (problem,) = problems_of_files(tmp_path)
    assert "5.2 is the oldest" in problem.what
    (tmp_path / "requirements.txt").write_text("django==5.2.3\n")
    assert not list(problems_of_files(tmp_path))


@pytest.mark.parametrize(
    ("here", "problems"), [("3.13", 0), ("3.13.2", 0), ("3.12", 1), ("pypy", 0)]
)
def test_another_python_here_than_in_the_image_is_found(tmp_path, here, problems):
    (tmp_path / ".python-version").write_text(f"{here}\n")
    (tmp_path / "Dockerfile").write_text("# syntax\nFROM python:3.13-slim AS base\n")
    found = list(problems_of_files(tmp_path))
    assert len(found) == problems
    assert all("echo 3.13 >.python-version" in problem.remedy for problem in found)


def test_markers_of_a_merge_are_found(tmp_path):
    git(tmp_path, "init", "--quiet")
    (tmp_path / ".gitignore").write_text(".env*\n*.sqlite3*\n")
    (tmp_path / "views.py").write_text(
        "<<<<<<< before updating\n=======\n>>>>>>> after\n"
    )
    git(tmp_path, "add", "--all")
    (problem,) = problems_of_files(tmp_path)
    assert "views.py" in problem.what
