"""A rendered project, lived in: its checks, its tests, its settings, its wheel."""

import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.cases import one_fast

ROOT = Path(__file__).resolve().parents[2]
PRODUCTION = {
    "STAGETOOLS_SYSTEM": "mysite_prod",
    "SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "ALLOWED_HOSTS": "mysite.example.com",
}
VISIT = """
import aaa_script_setup
from django.core.management import call_command
from django.test import Client
call_command("collectstatic", "--no-input", "--ignore=admin", verbosity=0)
call_command("migrate", "--no-input", verbosity=0)
answer = Client(HTTP_HOST="mysite.example.com").get("/", secure=True)
assert answer.status_code == 200, answer
print(*(f"{name}: {value}" for name, value in answer.headers.items()), sep="\\n")
print(answer.content.decode())
"""
OPTIONS = """
import tasks
from invoke import Collection
there = next((t for t in vars(tasks).values() if isinstance(t, Collection)), None)
for task in (there or Collection.from_module(tasks)).to_contexts():
    print(task.name, *task.flags)
"""


@pytest.mark.slow
def test_django_finds_no_fault_and_no_missing_migration(render):
    project = render()
    project.run("python", "manage.py", "check", "--fail-level=WARNING")
    project.run("python", "manage.py", "makemigrations", "--check", "--dry-run")


@pytest.mark.slow
@pytest.mark.parametrize("slug", ["mysite", "blue_heron"])
def test_the_projects_own_tests_pass(render, slug):
    project = render(project_slug=slug)
    project.run("python", "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:xdist")


def test_management_commands_work_from_any_folder(render, tmp_path):
    project = render()
    manage = str(project.path / "manage.py")
    done = project.run("python", manage, "showmigrations", "mysite", cwd=tmp_path)
    assert "0001_initial" in done.stdout
    assert (project.path / "data" / "mysite.sqlite3").exists()


def test_a_script_reaches_the_models_after_one_import(render):
    code = "import aaa_script_setup; from mysite.models import User; print(User._meta)"
    assert "mysite.user" in render().run("python", "-c", code).stdout


def test_djangos_deploy_check_has_nothing_to_say_in_production(render):
    deploy = ["check", "--deploy", "--fail-level=WARNING"]
    render().run("python", "manage.py", *deploy, **PRODUCTION)


def test_production_serves_hashed_files_under_a_strict_policy(render, tmp_path):
    folders = {
        "DATABASE_PATH": str(tmp_path / "mysite.sqlite3"),
        "STATIC_ROOT": str(tmp_path / "static"),
        "STAGETOOLS_STATIC_ARCHIVE": str(tmp_path / "archive"),
        "STAGETOOLS_RELEASE": "20261121-1",
    }
    page = render().run("python", "-c", VISIT, **PRODUCTION, **folders).stdout
    assert re.search(r'href="/static/site/style\.[0-9a-f]{12}\.css"', page)
    assert re.search(r'src="/static/site/postmark\.[0-9a-f]{12}\.svg"', page)
    policy = re.search(r"^Content-Security-Policy: (.*)$", page, re.MULTILINE)
    assert "default-src 'self'" in policy[1]
    assert "unsafe" not in policy[1]
    assert "mysite_prod" in page
    assert 'class="production"' in page
    assert "20261121-1" in page
    assert "WAL" in page


def test_tasks_and_options_that_the_texts_name_exist(render):
    project = render()
    texts = [project.read("README.md"), project.read(".github/workflows/ci.yml")]
    texts.append((ROOT / "copier.yml").read_text())
    named = re.findall(r"\binv ([a-z][\w.]*)([^`\n]*)", "\n".join(texts))
    assert named
    listed = project.run("python", "-c", OPTIONS).stdout.splitlines()
    there = {line.split()[0]: line.split()[1:] for line in listed}
    for task, words in named:
        assert task in there
        for option in re.findall(r"--[a-z-]+", words):
            assert option in there[task], (task, option)


def test_the_workflow_tests_each_push_and_deploys_tags(render):
    text = render().read(".github/workflows/ci.yml")
    workflow = yaml.safe_load(text)
    assert workflow["jobs"]["deploy"]["needs"] == "test"
    assert "refs/tags/v" in workflow["jobs"]["deploy"]["if"]
    used = set(re.findall(r"secrets\.(\w+)", text))
    explained = set(re.findall(r"^#   (\w+)  ", text, re.MULTILINE))
    assert used == explained


@pytest.mark.slow
def test_one_wheel_holds_the_whole_site(render, tmp_path):
    project = render()
    out = str(tmp_path)
    project.run("uv", "build", "--wheel", "--out-dir", out, str(project.path))
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        packed = set(file.namelist())
    for name in project.files:
        is_code = name.parts[0] in ("mysite", "stagetools", "stagetools_project")
        if is_code or str(name) in ("aaa_env_setup.py", "aaa_script_setup.py"):
            assert str(name) in packed


PAGES = [
    ("<script src='/static/own.js' defer></script>", 0),
    ("<a href='https://elsewhere.example'>a link</a>", 0),
    ("<script type='application/json'>{}</script>", 0),
    ("<img src='data:image/png;base64,AA'>", 0),
    ("<link rel='canonical' href='https://elsewhere.example/'>", 0),
    ("<script nonce='abc'>1</script>", 0),
    ("<script>1</script>", 1),
    ("<style>a {}</style>", 1),
    ("<p style='color: red'>", 1),
    ("<p onclick='1'>", 1),
    ("<script src='//elsewhere.example/a.js'></script>", 1),
    ("<script src='data:text/javascript,1'></script>", 1),
    ("<link rel='stylesheet' href='https://elsewhere.example/a.css'>", 1),
    ("<img src='https://elsewhere.example/a.png'>", 1),
    ("<form action='https://elsewhere.example/'>", 1),
]
JUDGE = """
import json, os, sys
import aaa_script_setup
from stagetools.settings.csp import POLICY
from mysite.tests import Refused
policy = "; ".join(" ".join([name, *words]) for name, words in POLICY.items())
for page in json.loads(sys.argv[1]):
    refused = Refused(policy)
    refused.feed(page)
    print(len(refused.found))
wide = Refused(policy + "; script-src 'self' https://*.example")
wide.feed("<script src='https://cdn.example/a.js'></script>")
assert not wide.found, wide.found
"""


def test_the_projects_own_test_asks_for_what_the_policy_forbids_and_no_more(render):
    pages = json.dumps([page for page, _ in PAGES])
    done = render().run("python", "-c", JUDGE, pages)
    assert list(map(int, done.stdout.split())) == [count for _, count in PAGES]


def test_the_development_server_ends_without_a_word(render):
    code = (
        "import tasks, invoke\n"
        "def run(*words, **options): raise KeyboardInterrupt\n"
        "tasks.subprocess.run = run\n"
        "tasks.dev(invoke.Context())"
    )
    done = render().run("python", "-c", code)
    assert (done.stdout, done.stderr) == ("", "")


STUMBLES = {
    "stagetools_project/settings.py": (
        'MIDDLEWARE += ["django.middleware.gzip.GZipMiddleware"]\n'
        'STATIC_ROOT = "static"\n'
    ),
    "mysite/models.py": (
        "\n\nclass Basket(models.Model):\n"
        '    """One of each visitor."""\n\n'
        "    owner = models.ForeignKey(User, on_delete=models.CASCADE)\n\n"
        "    def __str__(self) -> str:\n        return str(self.owner)\n"
    ),
}


@pytest.mark.parametrize(
    "typed",
    one_fast(
        [
            "manage showmigrations mysite",
            "manage migrate --plan --stage prod",
            "manage -- check --deploy",
            "env.set A=1 B=2",
            "env.get A",
        ],
        kind=lambda typed: typed[:3],
    ),
)
def test_words_are_taken_as_people_type_them(render, typed):
    """So far that only the server is missing."""
    said = failed(render().run, "inv", *typed.split())
    assert "[stages.prod] of deploy.toml names no host" in said


@pytest.fixture
def living(render, tmp_path):
    """A project of its own, with what somebody writes in the first week."""
    project = type(render())(shutil.copytree(render().path, tmp_path / "project"))
    for name, text in STUMBLES.items():
        (project.path / name).write_text(project.read(name) + text)
    return project


@pytest.mark.slow
def test_what_everybody_writes_in_the_first_week_passes_the_check(living):
    living.run("python", "manage.py", "makemigrations", "mysite")
    assert "✓ types" in living.run("inv", "check").stdout


@pytest.mark.slow
def test_the_check_tells_what_to_type_for_each_finding(living):
    (living.path / "uv.lock").touch()
    faults = {
        "urls.py": "import os\nurl: int = 'x'\n",
        "tests.py": "def test_sums():\n    assert 1 == 2\n",
        "static/site/style.css": "a { background: url(gone.png) }\n",
    }
    for name, text in faults.items():
        path = living.path / "mysite" / name
        path.write_text(path.read_text() + text)
    said = failed(living.run, "inv", "check")
    told = dict(re.findall(r"^ *✗ (.*)\n(?: {4,}.*\n)+ *→ (.*)", said, re.MULTILINE))
    assert list(told) == re.findall(r"^ *✗ (.*)", said, re.MULTILINE)
    assert told["format"] == "uv run ruff format"
    assert "uv run ruff check --fix" in told["lint"]
    assert "uv run mypy" in told["types"]
    assert "uv run python -m stagetools.manage makemigrations mysite" in told["no migration is missing"]
    assert "    site/style.css: gone.png\n" in said
    assert told["static files can be hashed"].endswith("then uv run inv check")


def failed(run, *words: str) -> str:
    """What a program says that must fail."""
    with pytest.raises(AssertionError) as failure:
        run(*words)
    return str(failure.value)
