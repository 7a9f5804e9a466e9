"""The naming convention, the expected system and the search for the actual one."""

import dataclasses
import os
import string
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stagetools
from stagetools.errors import SystemNameError, UsageError
from stagetools.naming.system import CONVENTION, NAME_MAX, Source, Stage, System
from stagetools.utils import get_actual_system_from_name, get_expected_system_from_name

FIT = r"[a-z](?:[a-z0-9_]{0,20}[a-z0-9])?_[pqid][a-z0-9]{0,6}"
OF_THE_ACCOUNT = {"user", "group"}  # who runs the tests, and not who should
names = st.from_regex(FIT, fullmatch=True).filter(lambda name: len(name) <= NAME_MAX)


def attributes(system: System) -> dict[str, object]:
    """Every public attribute with its value."""
    public = [name for name in dir(system) if not name.startswith(("_", "own_"))]
    return {name: getattr(system, name) for name in public}


@settings(deadline=None)  # the machine may have other things to do
@given(names)
def test_expected_and_actual_agree_on_all_that_a_name_says(name: str) -> None:
    expected = attributes(get_expected_system_from_name(name))
    actual = attributes(get_actual_system_from_name(name))
    assert expected.keys() == actual.keys()
    for attribute in expected.keys() - OF_THE_ACCOUNT:
        assert actual[attribute] == expected[attribute], attribute


@settings(deadline=None)
@given(
    names, st.sampled_from(["shop", "my-shop", "s"]), st.sampled_from(["core", "shop"])
)
def test_they_agree_on_a_repository_and_an_app_of_another_name(
    name: str, core_repo: str, core_app: str
) -> None:
    expected = get_expected_system_from_name(name, None, core_repo, core_app)
    actual = get_actual_system_from_name(name, core_repo, core_app)
    account = {"user": actual.user, "group": actual.group}
    assert dataclasses.replace(expected, **account) == actual
    assert (actual.core_repo, actual.core_app) == (core_repo, core_app)


@settings(deadline=None)
@given(st.text(alphabet=string.printable, max_size=40) | st.text(max_size=40) | names)
def test_a_name_is_taken_or_refused_with_the_convention(text: str) -> None:
    """The rule is written here a second time, without the pattern."""
    configuration, _, stage_name = text.rpartition("_")
    low = set(string.ascii_lowercase + string.digits + "_")
    fits = (
        set(text) <= low
        and configuration[:1].isalpha()
        and not configuration.endswith("_")
        and stage_name[:1] in set("pqid")
        and len(text) <= NAME_MAX
    )
    if fits and stage_name:
        assert get_expected_system_from_name(text).configuration == configuration
        return
    for find in (get_expected_system_from_name, get_actual_system_from_name):
        with pytest.raises(SystemNameError) as refused:
            find(text)
        assert CONVENTION in str(refused.value)


@pytest.mark.parametrize(
    ("name", "stage", "is_debug"),
    [
        ("shop_prod", Stage.PRODUCTION, False),
        ("shop_qual", Stage.QUALIFICATION, False),
        ("shop_int", Stage.INTEGRATION, True),
        ("shop_dsearch", Stage.DEVELOPMENT, True),
        ("my_little_shop_p2", Stage.PRODUCTION, False),
    ],
)
def test_the_stage_is_the_first_letter_of_the_stage_name(
    name: str, stage: Stage, is_debug: bool
) -> None:
    system = get_expected_system_from_name(name)
    assert (system.stage, system.is_debug) == (stage, is_debug)
    assert f"{system.configuration}_{system.stage_name}" == name


def test_every_attribute_of_the_expected_system_follows_from_its_name() -> None:
    system = get_expected_system_from_name("my_shop_prod")
    home = Path("/home/my_shop_prod")
    assert {
        name: value
        for name, value in attributes(system).items()
        if name not in ("source", "stage")
    } == {
        "name": "my_shop_prod",
        "user": "my_shop_prod",
        "group": "my_shop_prod",
        "container": "my-shop-prod",
        "configuration": "my_shop",
        "stage_name": "prod",
        "is_debug": False,
        "core_repo": "my_shop",
        "core_app": "my_shop",
        "base_dir": home,
        "venv_dir": home,
        "bin_dir": home / "bin",
        "lib_dir": home / "lib",
        "src_dir": home / "src",
        "python_path": home / "bin/python",
        "pip_path": home / "bin/pip",
        "core_repo_dir": home / "src/my_shop",
        "static_url": "/static/",
        "static_dir": home / "static",
        "media_url": "/media/",
        "media_dir": home / "media",
        "application_name": "application",
        "asgi_module": "stagetools.asgi",
        "asgi_application": "stagetools.asgi:application",
        "wsgi_module": "stagetools.wsgi",
        "wsgi_application": "stagetools.wsgi:application",
        "django_project": "stagetools_project",
        "django_settings": "stagetools_project.settings",
        "django_rooturls": "stagetools_project.urls",
        "django_wsgi_application": "stagetools.wsgi.application",
        "manage_py_path": home / "src/my_shop/manage.py",
        "database_name": "my_shop_prod",
        "database_user": "my_shop_prod",
        "database_sqlite_path": home / "data/my_shop.sqlite3",
        "services": ("web",),
    }


def test_a_system_cannot_be_changed() -> None:
    system = get_expected_system_from_name("shop_prod")
    with pytest.raises(dataclasses.FrozenInstanceError):
        system.name = "shop_dev"  # type: ignore[misc]


def test_the_base_directory_of_the_expected_system_can_be_chosen() -> None:
    system = get_expected_system_from_name("shop_prod", base_dir="/srv/shop_prod")
    assert system.database_sqlite_path == Path("/srv/shop_prod/data/shop.sqlite3")


def test_a_repository_with_a_hyphen_has_a_package_that_can_be_imported() -> None:
    system = get_expected_system_from_name("shop_prod", core_repo="my-shop")
    assert (system.core_repo, system.core_app) == ("my-shop", "my_shop")


# --- the search: each place in front of the next, in a process of its own -------------

LOOK = """
from stagetools.utils import get_actual_system_from_name as find
import sys
try:
    s = find(*[word or None for word in sys.argv[1:]])
except Exception as error:
    print(error)
    sys.exit(error.exit_code)
print(s.name, s.source.name, s.base_dir, s.core_repo_dir, s.venv_dir, sep="|")
"""


class Machine:
    """Directories with environments and checkouts; nothing but Python and stagetools."""

    def __init__(self, root: Path, library: Path) -> None:
        self.root, self.library = root, library

    def venv(self, name: str) -> Path:
        directory = self.root / name
        make = [sys.executable, "-m", "venv", "--without-pip", "--symlinks", directory]
        subprocess.run(make, check=True)
        return directory

    def checkout(self, name: str) -> Path:
        directory = self.root / name
        directory.mkdir(parents=True)
        (directory / "stagetools").symlink_to(self.library)
        return directory

    def look(
        self, *words: str, python: str = "", path: Path | None = None, **variables: str
    ) -> list[str]:
        """Name, source, base, repository, environment; or the refusal's lines."""
        base = getattr(sys, "_base_executable", sys.executable)
        environment = {"PYTHONPATH": str(path or self.library.parent)} | variables
        done = subprocess.run(
            [python or base, "-c", LOOK, *words],
            cwd="/",
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            return [str(done.returncode), done.stdout, done.stderr]
        return done.stdout.strip().split("|")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, Path(__file__).parents[2] / "stagetools")


def test_the_argument_comes_before_the_environment(machine: Machine) -> None:
    found = machine.look("shop_qual", STAGETOOLS_SYSTEM="shop_prod")
    assert found[:3] == ["shop_qual", "ARGUMENT", "/home/shop_qual"]


def test_the_environment_comes_before_the_virtual_environment(machine: Machine) -> None:
    python = str(machine.venv("shop_qual") / "bin/python")
    found = machine.look(python=python, STAGETOOLS_SYSTEM="shop_prod")
    assert found[:3] == ["shop_prod", "ENVIRONMENT", "/home/shop_prod"]


def test_the_virtual_environment_comes_before_the_checkout(machine: Machine) -> None:
    venv, checkout = machine.venv("shop_qual"), machine.checkout("shop_prod")
    found = machine.look("", "shop", python=str(venv / "bin/python"), path=checkout)
    assert found == [
        "shop_qual",
        "VENV",
        str(venv),
        str(venv / "src/shop"),
        str(venv),
    ]


def test_a_checkout_may_bear_the_name(machine: Machine) -> None:
    checkout = machine.checkout("shop_dsearch")
    found = machine.look("", "shop", path=checkout)
    assert found[:4] == ["shop_dsearch", "CHECKOUT", str(checkout), str(checkout)]


def test_a_checkout_in_src_is_part_of_the_installation_above(machine: Machine) -> None:
    checkout = machine.checkout("shop_prod/src/shop")
    found = machine.look("", "shop", path=checkout)
    assert found[:4] == [
        "shop_prod",
        "CHECKOUT",
        str(machine.root / "shop_prod"),
        str(checkout),
    ]


def test_a_developers_machine_has_a_name_of_its_own(machine: Machine) -> None:
    checkout, venv = machine.checkout("shop"), machine.venv("shop/.venv")
    found = machine.look("", "shop", python=str(venv / "bin/python"), path=checkout)
    assert found == ["shop_dev", "FALLBACK", str(checkout), str(checkout), str(venv)]


@pytest.mark.parametrize("folder", ["my_project", "other_prod", "shop_old", "shop_x1"])
def test_a_folder_that_only_looks_like_a_name_is_none(
    machine: Machine, folder: str
) -> None:
    checkout = machine.checkout(folder)
    assert machine.look("", "shop", path=checkout)[:2] == ["shop_dev", "FALLBACK"]


def test_a_name_from_outside_finds_the_environment_of_that_name(
    machine: Machine,
) -> None:
    venv = machine.venv("shop_prod")
    found = machine.look(python=str(venv / "bin/python"), STAGETOOLS_SYSTEM="shop_prod")
    assert found[1:3] == ["ENVIRONMENT", str(venv)]


def test_without_any_name_all_places_are_told(machine: Machine) -> None:
    status, said, _ = machine.look(path=machine.checkout("work"))
    assert status == "2"
    assert CONVENTION in said
    for source in (Source.ARGUMENT, Source.ENVIRONMENT, Source.CHECKOUT):
        assert source in said


@pytest.mark.parametrize("name", ["shop", "shop_x", "Shop_prod", "", "shop_prod "])
def test_a_variable_that_breaks_the_convention_is_refused(
    machine: Machine, name: str
) -> None:
    """An empty one too: somebody meant to give a name, and it did not arrive."""
    status, said, _ = machine.look("", "shop", STAGETOOLS_SYSTEM=name)
    assert status == "2"
    assert CONVENTION in said
    assert f"STAGETOOLS_SYSTEM in the environment: {name!r}" in said


def test_the_settings_file_may_say_the_name(machine: Machine) -> None:
    file = machine.root / "settings.ini"
    file.write_text("[installation]\nstagetools_system = shop_qual\n")
    found = machine.look("", "shop", STAGETOOLS_CONFIG=str(file))
    assert found[:2] == ["shop_qual", "FILE"]


def test_a_checkout_does_not_read_the_packaged_projects_file(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    etc = machine.root / "etc"
    (etc / "shop").mkdir(parents=True)
    (etc / "shop/settings.ini").write_text("[a]\nSTAGETOOLS_SYSTEM = shop_prod\n")
    monkeypatch.setattr("stagetools.config.ETC", etc)
    monkeypatch.delenv("STAGETOOLS_SYSTEM", raising=False)
    monkeypatch.setattr("stagetools.naming.places.venv_dir", lambda: None)
    assert get_actual_system_from_name(core_repo="shop").source is Source.FALLBACK
    monkeypatch.setattr("stagetools.naming.places.checkout_dir", lambda: None)
    assert get_actual_system_from_name(core_repo="shop").name == "shop_prod"


def test_a_process_without_an_account_has_a_number_for_a_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    assert get_actual_system_from_name("shop_prod").user == "54321"


def test_windows_has_users_and_no_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pwd", None)
    monkeypatch.setitem(sys.modules, "grp", None)
    monkeypatch.setenv("LOGNAME", "ada")
    system = get_actual_system_from_name("shop_prod")
    assert (system.user, system.group) == ("ada", "")


def test_a_refused_name_is_a_usage_error() -> None:
    with pytest.raises(UsageError) as refused:
        get_expected_system_from_name("shop")
    assert refused.value.exit_code == 2


def test_the_version_is_said_once() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert tomllib.loads(text)["project"]["version"] == stagetools.__version__
