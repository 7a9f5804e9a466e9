"""What `inv check` reads from a project's files: its settings, its packages, its tests."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stagetools.deploy.check import needs, own_tests, project, resolving
from stagetools.deploy.tasks import readiness

ROOT = Path(__file__).resolve().parents[1]
ADOPTED = "from stagetools.adopted import adopt\n\nfrom shop.settings import *\n"
OURS = (
    ROOT / "template/stagetools_project/requirements.txt.jinja"
).read_text()  # nothing in it is rendered


@pytest.fixture
def write(tmp_path):
    """Write files of a project that is adopted, and let git track them."""

    def write(files: dict[str, str], wrapped: str = "shop.settings") -> Path:
        adopted = ADOPTED.replace("shop.settings", wrapped)
        ours = {"stagetools_project/settings.py": adopted}
        for name, content in ({"shop/settings.py": ""} | ours | files).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)
        for words in (["init", "--quiet"], ["add", "--all"]):
            subprocess.run(["git", *words], cwd=tmp_path, check=True)
        return tmp_path

    return write


# --- adopted or not -------------------------------------------------------------------


def test_a_project_is_adopted_whatever_its_file_of_answers_is_called(write, tmp_path):
    answers = "_src_path: gh:org/django-prod\nsettings_module: shop.settings\n"
    write({".copier-answers.deploy.yml": answers, ".copier-answers.yml": "a: b\n"})
    (tmp_path / "stagetools_project/settings.py").write_text("")
    assert project.is_adopted(tmp_path)
    assert project.answers_file(tmp_path).name == ".copier-answers.deploy.yml"


def test_answers_of_another_template_are_not_taken_for_ours(write, tmp_path):
    """project_slug is a question that many templates ask."""
    theirs, ours = "project_slug: shop\n", "settings_module: shop.settings\n"
    write({".copier-answers.base.yml": theirs, ".copier-answers.yml": ours})
    assert project.answers_file(tmp_path).name == ".copier-answers.yml"
    (tmp_path / ".copier-answers.yml").unlink()
    assert project.answers_file(tmp_path).name == ".copier-answers.base.yml"


def test_a_project_of_the_template_is_not_adopted(tmp_path):
    (tmp_path / ".copier-answers.yml").write_text("settings_module: ''\n")
    (tmp_path / "stagetools_project").mkdir()
    (tmp_path / "stagetools_project/settings.py").write_text("from a.b import *\n")
    assert not project.is_adopted(tmp_path)


def test_a_single_module_of_settings_is_one(write):
    root = write({"settings.py": ""}, wrapped="settings")
    assert project.wrapped_settings(root) == "settings"


def test_nothing_is_to_be_ignored_that_an_adopted_project_has_not(write):
    root = write({"data/.gitignore": "*.sqlite3*\n", "requirements.txt": "django\n"})
    assert not list(readiness.problems_of_files(root))
    (root / ".env").write_text("A=B\n")
    (problem,) = readiness.problems_of_files(root)
    assert problem.what == "git would track .env"


# --- which settings production has ----------------------------------------------------

PRODUCTION = "config.settings.production"
DEVELOPERS = {
    "config/settings/local.py": "",
    "config/settings/production.py": "",
    "config/settings/base.py": "",
}


@pytest.mark.parametrize(
    ("where", "content"),
    [
        ("Procfile", f"web: gunicorn config.wsgi --settings={PRODUCTION}\n"),
        ("docker/Dockerfile", f"ENV DJANGO_SETTINGS_MODULE={PRODUCTION}\n"),
        ("fly.toml", f'[env]\n  DJANGO_SETTINGS_MODULE = "{PRODUCTION}"\n'),
        (
            "config/wsgi.py",
            f"os.environ.setdefault('DJANGO_SETTINGS_MODULE', '{PRODUCTION}')\n",
        ),
        (
            "config/asgi.py",
            f'os.environ["DJANGO_SETTINGS_MODULE"] = "{PRODUCTION}"\n',
        ),
        ("config/settings/production.py", ""),
    ],
)
def test_a_developers_settings_are_a_problem_where_others_are_productions(
    write, where, content
):
    root = write(DEVELOPERS | {where: content}, wrapped="config.settings.local")
    problem, remark = project.problem_of_settings(root)
    assert f"{where} has {PRODUCTION}" in problem.what
    assert problem.remedy.endswith(f"--data settings_module={PRODUCTION}")
    assert not remark


def test_the_answers_of_another_file_are_changed_in_it(write):
    answers = {".copier-answers.deploy.yml": "settings_module: config.settings.local\n"}
    root = write(DEVELOPERS | answers, wrapped="config.settings.local")
    problem, _ = project.problem_of_settings(root)
    assert "--answers-file .copier-answers.deploy.yml" in problem.remedy


def test_other_settings_that_are_no_developers_are_only_told_of(write):
    root = write(DEVELOPERS, wrapped="config.settings.base")
    problem, remark = project.problem_of_settings(root)
    assert problem is None
    assert "production.py has config.settings.production" in remark


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"shop/wsgi.py": "setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')"},
        {"Procfile": "web: DJANGO_SETTINGS_MODULE=elsewhere.production gunicorn\n"},
        {"Dockerfile": "ENV DJANGO_SETTINGS_MODULE=$SETTINGS\n"},
    ],
)
def test_settings_that_nothing_contradicts_are_no_matter(write, files):
    assert project.problem_of_settings(write(files)) == (None, "")


def test_production_settings_that_are_wrapped_are_no_matter(write):
    root = write(DEVELOPERS, wrapped=PRODUCTION)
    assert project.problem_of_settings(root) == (None, "")


# --- its tests ------------------------------------------------------------------------

SETTINGS = "DJANGO_SETTINGS_MODULE"
SHOWS = """\
import os

def test_settings(record_property):
    print("settings:", os.environ.get("DJANGO_SETTINGS_MODULE"))
    assert 0
"""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "pyproject.toml",
            f'[tool.pytest.ini_options]\n{SETTINGS} = "shop.settings"\n',
        ),
        (
            "pyproject.toml",
            '[tool.pytest.ini_options]\naddopts = "--ds=shop.settings"\n',
        ),
        ("pytest.ini", f"[pytest]\n{SETTINGS} = shop.settings\n"),
        ("tox.ini", f"[pytest]\n{SETTINGS} = shop.settings\n"),
        ("setup.cfg", f"[tool:pytest]\n{SETTINGS} = shop.settings\n"),
    ],
)
def test_the_projects_tests_have_the_projects_settings(
    write, monkeypatch, name, content
):
    monkeypatch.setenv(SETTINGS, "stagetools_project.settings")
    words, folder, environment = own_tests.command(write({name: content}))
    assert words == ("-m", "pytest", "-q")
    assert folder.name == write({}).name
    assert SETTINGS not in environment


def test_tests_that_a_conftest_configures_are_left_to_it(write, monkeypatch):
    monkeypatch.setenv(SETTINGS, "stagetools_project.settings")
    conftest = f"os.environ.setdefault('{SETTINGS}', 'shop.settings')\n"
    root = write({"pytest.ini": "[pytest]\n", "conftest.py": conftest})
    assert SETTINGS not in own_tests.command(root)[2]


def test_pytest_that_names_no_settings_keeps_ours(write, monkeypatch):
    monkeypatch.setenv(SETTINGS, "stagetools_project.settings")
    environment = own_tests.command(write({"pytest.ini": "[pytest]\n"}))[2]
    assert environment[SETTINGS] == "stagetools_project.settings"


def test_settings_that_a_person_has_exported_are_that_persons(write, monkeypatch):
    monkeypatch.setenv(SETTINGS, "shop.faster")
    root = write({"pytest.ini": f"[pytest]\n{SETTINGS} = shop.settings\n"})
    assert own_tests.command(root)[2][SETTINGS] == "shop.faster"


def test_tests_are_run_where_they_are_configured(write, monkeypatch):
    monkeypatch.setenv(SETTINGS, "stagetools_project.settings")
    ini = f"[tool:pytest]\n{SETTINGS} = site.settings\n"
    root = write(
        {"src/setup.cfg": ini, "src/site/settings.py": ""}, wrapped="site.settings"
    )
    _, folder, environment = own_tests.command(root)
    assert folder == root / "src"
    assert environment["PYTHONPATH"].startswith(str(root / "src"))


def test_tests_without_pytest_are_djangos(write):
    words, _, _ = own_tests.command(write({}))
    assert words == ("-m", "stagetools.manage", "test", "--verbosity=0")


@pytest.mark.slow  # the short form of it is which settings it is given
def test_a_real_pytest_meets_the_settings_of_the_project(write, monkeypatch, tmp_path):
    """pytest-django takes an exported name before the one in pyproject.toml."""
    monkeypatch.setenv(SETTINGS, "stagetools_project.settings")
    root = write(
        {
            "pytest.ini": f"[pytest]\n{SETTINGS} = shop.settings\npythonpath = .\n",
            "shop/settings.py": "SECRET_KEY = 'theirs'\n",
            "stagetools_project/settings.py": f"{ADOPTED}SECRET_KEY = 'ours'\n",
            "test_key.py": "def test_key(settings):\n    assert settings.SECRET_KEY == 'theirs'\n",
        }
    )
    words, folder, environment = own_tests.command(root)
    program = [sys.executable, *words, "-p", "no:randomly", "-p", "no:cacheprovider"]
    done = subprocess.run(
        program, cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


LONG = """\
import pathlib, time
print(".... [ 34%]", flush=True)
until = time.monotonic() + 60
while not pathlib.Path("heard").exists() and time.monotonic() < until:
    time.sleep(0.02)
exit(3 if pathlib.Path("heard").exists() else 4)
"""


def test_a_long_program_says_how_far_it_is(tmp_path):
    """The program ends when it has been said, however busy the machine is."""
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "34 %" in line:
            (tmp_path / "heard").touch()

    status, output = own_tests.watched(
        "tests",
        [sys.executable, "-c", LONG],
        tmp_path,
        dict(os.environ),
        tmp_path / "output",
        say,
        soon=0.1,
    )
    assert status == 3
    assert output.strip() == ".... [ 34%]"
    assert re.fullmatch(r"· tests: \d+ s so far, 34 %", said[-1])


def test_a_program_that_is_short_says_nothing(tmp_path):
    said: list[str] = []
    words, environment = [sys.executable, "-c", ""], dict(os.environ)
    output = tmp_path / "output"
    done = own_tests.watched("a", words, tmp_path, environment, output, said.append)
    assert (done, said) == ((0, ""), [])


def test_tests_can_be_left_out_of_a_check(write, tmp_path):
    titles = {
        tests: [p.title for p in readiness._programs(write({}), "", tmp_path, tests)]
        for tests in (True, False)
    }
    assert titles[True] == [*titles[False], "tests"]


# --- its Python and its packages ------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ("", ["3.11", "3.12", "3.13", "3.14"]),
        (">=3.12", ["3.12", "3.13", "3.14"]),
        (">=3.12,<3.14", ["3.12", "3.13"]),
        ("~=3.12", ["3.12", "3.13", "3.14"]),
        ("~=3.12.0", ["3.12"]),
        ("==3.13.*", ["3.13"]),
        (">3.11, !=3.13.*", ["3.11", "3.12", "3.14"]),
        ("<=3.12", ["3.11", "3.12"]),
    ],
)
def test_requires_python_is_read_as_pip_reads_it(asked, allowed):
    known = ("3.11", "3.12", "3.13", "3.14")
    assert [version for version in known if needs.allows(asked, version)] == allowed


def test_a_python_that_the_project_refuses_is_not_the_images(write):
    asks = '[project]\nrequires-python = ">=3.11,<3.13"\n'
    root = write({"pyproject.toml": asks, "Dockerfile": "FROM python:3.13-slim\n"})
    (problem,) = needs.problems_of_python(root)
    assert problem.what.endswith(
        "asks for Python >=3.11,<3.13, and the Dockerfile has 3.13"
    )
    assert "FROM python:3.12-slim" in problem.remedy


PROBLEMS = [
    ("requirements.txt", "Django==5.1.15\n", "asks for Django==5.1.15; 5.2 is"),
    ("requirements.txt", "django==5.2.1\n-e .\n", "asks for -e .: a folder"),
    ("requirements.txt", ".[postgres]\n", "asks for .[postgres]: a folder"),
    ("requirements.txt", "./libs/money\n", "asks for ./libs/money: a folder"),
    ("requirements.txt", "money @ file:libs/money\n", "a folder"),
    ("requirements.txt", "git+https://github.com/a/b@1\n", "the image has no git"),
    ("requirements.txt", "-e git+https://github.com/a/b#egg=b\n", "has no git"),
    (
        "uv.lock",
        '[[package]]\nname = "django"\nversion = "5.1.4"\n',
        "has django 5.1.4",
    ),
    (
        "uv.lock",
        '[[package]]\nname = "b"\nsource = { git = "https://github.com/a/b" }\n',
        "has b from a git repository",
    ),
    ("pyproject.toml", "[tool.poetry.dependencies]\ndjango = '*'\n", "nothing says"),
]


@pytest.mark.parametrize(("name", "content", "said"), PROBLEMS)
def test_what_the_image_could_not_install_is_said_before(write, name, content, said):
    (problem,) = needs.problems(write({name: content}))
    assert said in problem.what


def test_a_pin_in_an_included_file_is_found(write):
    included = {
        "requirements/base.txt": "django==4.2\n",
        "requirements.txt": "-r requirements/base.txt\n",
    }
    (problem,) = needs.problems(write(included))
    assert problem.what.startswith("requirements/base.txt asks for django==4.2;")


@pytest.mark.parametrize(
    ("image", "has_git"),
    [
        ("RUN apt-get install -qq -y git gcc\n", True),
        ("RUN apt-get update \\\n && apt-get install -y \\\n  gcc git\n", True),
        ("RUN apt-get install -y gcc \\\n  # to fetch\n  git \\\n", True),
        ('RUN ["apt-get", "install", "-y", "git"]\n', True),
        ("RUN apt-get install -y gcc \\\n && git --version\n", False),
        ("RUN pip install \\\n  git+https://a.b/c\n", False),
    ],
)
def test_an_image_that_has_git_installs_from_it(write, image, has_git):
    root = write({"requirements.txt": "git+https://a.b/c\n", "Dockerfile": image})
    assert (not list(needs.problems(root))) is has_git


LOCK = """\
[[package]]
name = "shop"
version = "1"
source = {{ virtual = "." }}
dependencies = [{{ name = "a", extra = ["fast"] }}]
[package.optional-dependencies]
docs = [{{ name = "of-an-extra" }}]
[package.dev-dependencies]
{groups}
[[package]]
name = "a"
version = "1"
source = {{ registry = "https://packages.test/simple" }}
dependencies = [{{ name = "shop" }}]
[package.optional-dependencies]
fast = [{{ name = "deep" }}]
slow = [{{ name = "deeper" }}]
[[package]]
name = "{name}"
source = {{ git = "https://github.com/a/b" }}
"""


@pytest.mark.parametrize(
    ("name", "groups", "default", "is_in_it"),
    [
        ("b", 'dev = [{ name = "b" }]', "", False),
        ("b", 'lint = [{ name = "b" }]', "", False),
        ("b", 'lint = [{ name = "b" }]', 'default-groups = ["dev", "lint"]', True),
        ("b", 'lint = [{ name = "b" }]', 'default-groups = "all"', True),
        ("b", 'dev = [{ name = "b" }]', 'default-groups = "all"', False),
        ("deep", 'dev = [{ name = "deep" }]', "", True),
        ("deeper", "", "", False),
        ("of-an-extra", "", "", False),
    ],
)
def test_what_is_locked_for_developers_alone_is_not_in_the_image(
    write, name, groups, default, is_in_it
):
    lock = LOCK.format(name=name, groups=groups)
    root = write({"uv.lock": lock, "pyproject.toml": f"[tool.uv]\n{default}\n"})
    assert bool(list(needs.problems(root))) is is_in_it


IMAGE = """\
FROM python:3.13-slim AS dependencies
{}
RUN uv pip install -r requirements.txt
COPY libs libs/
COPY . .
"""


@pytest.mark.parametrize(
    ("line", "copy", "is_there"),
    [
        ("./libs/money", "COPY libs libs/", True),
        ("./libs/money", "COPY --link lib[s]/ \\\n  ./libs/", True),
        ("-e ./libs/money[a]", 'COPY ["libs", "libs/"]', True),
        ("money @ file:libs/money", "COPY ./libs ./libs", True),
        ("money @ file:///app/libs/money ; a < '1'", "COPY libs libs", True),
        ("money @ file:///opt/money", "COPY libs/money /opt/money", True),
        ("./libs/money", "COPY . .", True),
        ("-e .", "COPY . .", True),
        ("./libs/money", "", False),
        ("./libs/money", "# COPY libs libs/", False),
        ("./libs/money", "COPY --from=base /other libs", True),
        ("./libs/money", "COPY --from=base /libs /libs other", False),
        ("./libs/money", "COPY --from=base . /app", False),
        ("./libs/money", "COPY pyproject.tom[l] requirement[s]*.txt ./", False),
        ("-e .", "COPY libs libs/", False),
    ],
)
def test_a_folder_that_the_dockerfile_copies_first_is_there(
    write, line, copy, is_there
):
    """As the remedy of its own problem says; a COPY after the packages is too late."""
    files = {"requirements.txt": f"{line}\n", "Dockerfile": IMAGE.format(copy)}
    assert (not list(needs.problems(write(files)))) is is_there


@pytest.mark.parametrize(
    ("files", "remedy"),
    [
        ({"pyproject.toml": "[tool.poetry.dependencies]\na='*'\n"}, "poetry export"),
        ({"Pipfile": "[packages]\n"}, "pipenv requirements"),
        ({}, "requirements/production.txt"),
    ],
)
def test_who_declares_packages_elsewhere_is_told_how_to_name_them(write, files, remedy):
    (problem,) = needs.problems(write(files))
    assert remedy in problem.remedy


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {
                "requirements.txt": "",
                "requirements-test.txt": "",
                "requirements/dev.txt": "",
            },
            "-r requirements-test.txt",
        ),
        (
            {
                "requirements.txt": "",
                "requirements/dev.txt": "",
                "requirements/base.txt": "",
            },
            "-r requirements/dev.txt",
        ),
        (
            {
                "pyproject.toml": "[project]\ndependencies = []\n[project.optional-"
                "dependencies]\ntests = ['a']\ndocs = ['b']\n"
                "[dependency-groups]\ndev = ['c']\ntest = ['d']\n"
            },
            "--group=test --extra=tests",
        ),
        ({"uv.lock": "", "requirements-dev.txt": ""}, ""),
    ],
)
def test_ci_installs_what_the_tests_need(write, monkeypatch, capsys, files, words):
    root = write(files)
    assert " ".join(needs.of_tests(root)) == words
    monkeypatch.chdir(root)
    needs.main()
    printed = capsys.readouterr().out.strip()
    assert printed.endswith(
        f"-r stagetools_project/requirements-dev.txt {words}".strip()
    )


GROUPS = """\
[dependency-groups]
dev = ['a']
{}cuda = ['b']
rocm = ['c']
[tool.uv]
conflicts = [[{{ group = "cuda" }}, {{ group = "rocm" }}]]
"""


@pytest.mark.parametrize(
    ("test", "printed"),
    [("test = ['d']\n", "--group=test\n"), ("", "--group=dev\n")],
)
def test_ci_asks_uv_for_the_tests_group_alone(
    write, monkeypatch, capsys, test, printed
):
    """All groups at once are refused where two of them conflict, so they are not asked for."""
    workflow = (ROOT / "template/.github/workflows/deploy.yml").read_text()
    assert "uv sync --frozen $(python3 -m stagetools.deploy.check.needs groups)" in (
        workflow
    )
    monkeypatch.chdir(write({"uv.lock": "", "pyproject.toml": GROUPS.format(test)}))
    monkeypatch.setattr(sys, "argv", ["needs", "groups"])
    needs.main()
    assert capsys.readouterr().out == printed


def test_ci_asks_before_anything_is_installed(write):
    """As the workflow calls it: with the standard library alone."""
    workflow = (ROOT / "template/.github/workflows/deploy.yml").read_text()
    (module,) = re.findall(r"pip install \$\(python3 -m (\S+)\)", workflow)
    root = write({"requirements.txt": "", "requirements/tests.txt": ""})
    words = [sys.executable, "-S", "-m", module]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    printed = subprocess.check_output(words, cwd=root, env=environment, text=True)
    assert printed.endswith("-dev.txt -r requirements/tests.txt\n")


def test_the_dockerfile_and_check_choose_the_same_files():
    """What the one gives to uv, the other asks uv about."""
    dockerfile = (ROOT / "template/Dockerfile.jinja").read_text()
    order = [
        "uv sync --frozen",
        "-r pyproject.toml",
        "-r requirements.txt",
        f"-r {needs.OURS}",
    ]
    places = [dockerfile.index(words) for words in order]
    assert places == sorted(places)
    assert needs._DEPENDENCIES.pattern.replace("^", "'^") + "'" in dockerfile


# --- uv -------------------------------------------------------------------------------

PINS = "django==6.1.3\nmysqlclient==2.2.4\n"
NO_WHEEL = "cause: Because mysqlclient==2.2.4 has no usable wheels and you require"
CONFLICT = (
    "error: No solution found\n  cause: Because you require gunicorn==19 and"
    " gunicorn>=22,<28, we can conclude\n  that your requirements are unsatisfiable.\n"
)


@pytest.fixture
def asked(write, monkeypatch):
    """Ask with uv's answers given; what is said, and what is found."""

    def asked(*answers: tuple[int, str]) -> tuple[list[str], list[project.Problem]]:
        given, said = list(answers), []
        monkeypatch.setattr(resolving, "_run", lambda *_: given.pop(0))
        monkeypatch.setattr(resolving, "version", lambda _: "5.2.19")
        files = {
            "requirements.txt": "django\n",
            "Dockerfile": "FROM python:3.13-slim\n",
        }
        problems = list(resolving.problems(write(files), said.append))
        return said, problems

    return asked


def test_requirements_that_contradict_ours_are_told_in_uvs_words(asked):
    said, (problem,) = asked((1, CONFLICT))
    assert problem.what == (
        "the image's Python 3.13 cannot have these packages: Because you require"
        " gunicorn==19 and gunicorn>=22,<28, we can conclude that your requirements"
        " are unsatisfiable."
    )
    assert not said


def test_what_the_files_say_already_is_not_asked_of_uv(write, monkeypatch):
    monkeypatch.setattr(resolving, "_run", lambda *_: pytest.fail("it was asked"))
    root = write(
        {"requirements.txt": "django==4.2\n", "Dockerfile": "FROM python:3.13\n"}
    )
    assert not list(resolving.problems(root, print))


def test_another_django_than_the_one_here_is_told(asked):
    _, (problem,) = asked((0, PINS), (0, PINS))
    assert "would have Django 6.1.3, and here it is 5.2.19" in problem.what
    assert "django~=5.2.0" in problem.remedy


def test_what_has_no_wheel_is_named(asked):
    said, problems = asked((0, PINS.replace("6.1.3", "5.2.1")), (1, NO_WHEEL), (0, ""))
    assert "mysqlclient 2.2.4" in said[-1]
    assert not problems


def test_a_package_of_networks_is_not_taken_for_a_missing_one(asked):
    conflict = CONFLICT.replace("gunicorn==19", "networkx==19")
    assert len(asked((1, conflict))[1]) == 1


def test_without_a_network_nothing_is_claimed(asked):
    said, problems = asked((1, "error: error sending request for url (https://…)"))
    assert said == [
        "· not asked whether the image's packages go together: no package index answers"
    ]
    assert not problems


def test_what_uv_has_locked_is_asked_about_with_ours(write, monkeypatch):
    asked: list[tuple[list[str], str]] = []

    def run(root, words, given=""):
        asked.append((words, given))
        return (0, "gunicorn==19.0\n") if "export" in words else (1, CONFLICT)

    monkeypatch.setattr(resolving, "_run", run)
    files = {"uv.lock": "", "Dockerfile": "FROM python:3.13-slim\n", needs.OURS: OURS}
    (problem,) = resolving.problems(write(files), str)
    words, given = asked[-1]
    assert words[-2:] == ["-", needs.OURS]
    assert given == "gunicorn==19.0\n"
    assert "gunicorn==19" in problem.what


@pytest.mark.slow
def test_uv_itself_finds_what_contradicts(write):
    files = {"Dockerfile": "FROM python:3.13-slim\n", needs.OURS: OURS}
    found = {}
    for asks in ("django==5.2.3\ngunicorn==22\nwhitenoise==6.6\n", "gunicorn==19\n"):
        root = write(files | {"requirements.txt": asks})
        found[asks[-4:-1]] = [p.what for p in resolving.problems(root, str)]
    assert not found["6.6"]
    assert "gunicorn==19" in found["=19"][0]
