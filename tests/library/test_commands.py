"""The project's command: what it does besides Django's own."""

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stagetools.installed.units import SERVERS
from stagetools.secret_key import why_unfit
from tests.library.sites import Site


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    return tmp_path / "etc"


def read(file: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(file)
    return parser


def test_init_etc_makes_a_key_that_production_takes(site: Site, etc: Path) -> None:
    done = site.run("manage.py", "init-etc", str(etc))
    assert done.returncode == 0, done.stderr
    file = etc / "settings.ini"
    assert file.stat().st_mode & 0o777 == 0o640
    key = read(file)["secrets"]["SECRET_KEY"]
    assert not why_unfit(key)
    assert key not in done.stdout
    check = site.run("manage.py", "check", "--deploy", STAGETOOLS_CONFIG=str(file))
    assert check.returncode == 0, check.stderr


def test_each_installation_has_a_key_of_its_own(site: Site, tmp_path: Path) -> None:
    for name in ("one", "two"):
        site.run("manage.py", "init-etc", str(tmp_path / name))
    one, two = (read(tmp_path / name / "settings.ini") for name in ("one", "two"))
    assert one["secrets"]["SECRET_KEY"] != two["secrets"]["SECRET_KEY"]


def test_what_is_in_etc_is_no_developers(site: Site, etc: Path) -> None:
    site.run(
        "manage.py", "init-etc", str(etc), "--hosts", "a.example.com,b.example.com"
    )
    said = read(etc / "settings.ini")
    assert said["installation"]["STAGETOOLS_SYSTEM"] == "shop_prod"
    assert said["site"]["ALLOWED_HOSTS"] == "a.example.com, b.example.com"


def test_the_name_may_be_chosen(site: Site, etc: Path) -> None:
    site.run("manage.py", "init-etc", str(etc), "--name", "shop_qual", "--systemd")
    said = read(etc / "settings.ini")
    assert said["files"]["STATIC_ROOT"] == "/home/shop_qual/static"
    names = {f"shop_qual-{server}.service" for server in SERVERS}
    assert names <= {file.name for file in etc.iterdir()}


def test_a_name_that_breaks_the_convention_writes_nothing(
    site: Site, etc: Path
) -> None:
    done = site.run("manage.py", "init-etc", str(etc), "--name", "shop")
    assert done.returncode == 2
    assert "is not the name of an installation" in done.stderr
    assert not etc.exists()


def test_a_second_time_changes_nothing(site: Site, etc: Path) -> None:
    site.run("manage.py", "init-etc", str(etc))
    (etc / "shop.wsgi").write_text("# mine\n")
    before = {file.name: file.read_text() for file in etc.iterdir()}
    done = site.run("manage.py", "init-etc", str(etc), "--systemd")
    assert done.stdout.count("stays as it is") == 2
    after = {file.name: file.read_text() for file in etc.iterdir()}
    assert before.items() <= after.items()


def test_the_wsgi_file_serves_from_any_directory(production: Site, etc: Path) -> None:
    for name in ("STAGETOOLS_SYSTEM", "SECRET_KEY", "ALLOWED_HOSTS"):
        del production.variables[name]
    production.run("manage.py", "init-etc", str(etc))
    code = (
        "import runpy, sys, os; os.chdir('/');"
        "print(callable(runpy.run_path(sys.argv[1])['application']),"
        "os.environ['STAGETOOLS_CONFIG'])"
    )
    done = production.run("-c", code, str(etc / "shop.wsgi"))
    assert done.stdout == f"True {etc / 'settings.ini'}\n", done.stderr


def test_a_directory_that_cannot_be_written_is_told_without_a_traceback(
    site: Site, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    done = site.run("manage.py", "init-etc", str(tmp_path / "file" / "etc"))
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("stage", [{}, {"STAGETOOLS_SYSTEM": "shop_prod"}])
def test_collectstatic_into_a_directory_hashes_and_needs_no_key(
    site: Site, tmp_path: Path, stage: dict[str, str]
) -> None:
    into = tmp_path / "www"
    done = site.run("manage.py", "collectstatic", "--into", str(into), "-v0", **stage)
    assert done.returncode == 0, done.stderr
    (style,) = (into / "shop").glob("site.????????????.css")
    assert style.with_name(f"{style.name}.gz").exists()
    assert (into / "staticfiles.json").exists()
    assert not (site.root / "static").exists()


def test_collectstatic_takes_a_relative_directory_and_djangos_options(
    site: Site,
) -> None:
    done = site.run(
        "manage.py", "collectstatic", "-v0", "--into=www", "--ignore", "*.png"
    )
    assert "Missing staticfiles manifest entry" not in done.stderr
    assert (site.root / "www").is_dir()


def test_compress_writes_beside_what_gets_smaller(site: Site, tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    (tmp_path / "www/a.css").write_text("a { color: red }\n" * 100)
    (tmp_path / "www/a.png").write_bytes(os.urandom(2000))
    done = site.run("manage.py", "compress", str(tmp_path / "www"))
    assert done.returncode == 0, done.stderr
    names = {file.name for file in (tmp_path / "www").iterdir()}
    assert (
        {"a.css", "a.css.gz", "a.png"}
        <= names
        <= {"a.css", "a.css.gz", "a.css.br", "a.png"}
    )


def test_compress_names_what_is_no_directory(site: Site) -> None:
    done = site.run("manage.py", "compress", "nowhere")
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        2,
        "nowhere is not a directory.",
    )


@pytest.mark.parametrize("words", [[], ["help"], ["--help"]])
def test_help_lists_them_all(site: Site, words: list[str]) -> None:
    said = site.run("manage.py", *words).stdout
    for command in ("migrate", "shop init-etc", "shop compress DIR", "--into DIR"):
        assert command in said


def test_an_installed_project_says_when_it_has_to_guess(
    site: Site, tmp_path: Path
) -> None:
    """In a checkout it is no news that this is a developer's."""
    assert site.run("manage.py", "check").stderr == ""
    packages = site.root.rename(tmp_path / "site-packages")
    environment = site.environment(PYTHONPATH=str(packages))
    done = subprocess.run(
        [sys.executable, "-m", "stagetools.manage", "check"],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.stderr.startswith("No STAGETOOLS_SYSTEM: this is shop_dev in ")
