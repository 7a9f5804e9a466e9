"""Expected against actual: what differs, told in a line, from inside and over SSH."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stagetools.naming.comparison import (
    ATTRIBUTES,
    Difference,
    Entry,
    Facts,
    compare_account,
    compare_entries,
    compare_services,
    compare_systems,
    entries_of,
)
from stagetools.naming.inspection import LOOK, look_here, parse, words
from stagetools.naming.system import System
from stagetools.utils import get_actual_system_from_name, get_expected_system_from_name
from tests.library.sites import Site

SHOP = get_expected_system_from_name("shop_prod")


def facts_as_expected(system: System = SHOP) -> Facts:
    entries = {entry.path: entry for entry in entries_of(system)}
    return Facts(system.group, entries, dict.fromkeys(system.services, "running"))


def differences(facts: Facts, system: System = SHOP) -> list[Difference]:
    return [
        *compare_account(system, facts),
        *compare_entries(entries_of(system), facts),
        *compare_services(system, facts),
    ]


def changed(path: str, **values: Any) -> Facts:
    facts = facts_as_expected()
    assert facts.entries
    entries = dict(facts.entries)
    entries[path] = replace(entries[path], **values)
    return replace(facts, entries=entries)


def test_an_installation_as_its_name_promises_has_no_difference() -> None:
    assert differences(facts_as_expected()) == []
    same = {name: str(getattr(SHOP, name)) for name in ATTRIBUTES}
    assert list(compare_systems(SHOP, same)) == []


def test_every_attribute_that_differs_is_a_line_with_a_remedy() -> None:
    other = get_expected_system_from_name("other_dev", "/srv/other", "o", "p")
    found = {name: str(getattr(other, name)) for name in ATTRIBUTES}
    found["django_settings"] = "other.settings"
    told = list(compare_systems(SHOP, found))
    assert {difference.subject for difference in told} == set(ATTRIBUTES)
    for difference in told:
        assert difference.remedy
        assert "{" not in difference.remedy
        assert "\n" not in str(difference)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (
            {"mode": 0o755},
            "/home/shop_prod/data: expected mode 0750 at most, found 0755;"
            " chmod 0750 /home/shop_prod/data",
        ),
        (
            {"owner": "root"},
            "/home/shop_prod/data: expected owner shop_prod, found root;"
            " chown shop_prod /home/shop_prod/data",
        ),
        (
            {"group": "www-data"},
            "/home/shop_prod/data: expected group shop_prod, found www-data;"
            " chgrp shop_prod /home/shop_prod/data",
        ),
        (
            {"kind": "regular file"},
            "/home/shop_prod/data: expected directory, found regular file;"
            " install -d -o shop_prod -g shop_prod -m 0750 /home/shop_prod/data",
        ),
    ],
)
def test_a_directory_that_differs_is_told_with_the_command_that_mends_it(
    values: dict[str, Any], line: str
) -> None:
    told = differences(changed("/home/shop_prod/data", **values))
    assert [str(difference) for difference in told] == [line]


def test_less_open_than_allowed_is_no_difference() -> None:
    assert differences(changed("/home/shop_prod/data", mode=0o700)) == []


def test_what_cannot_be_known_differs_from_nothing() -> None:
    """A container has no accounts of its host's, and sees no services."""
    unknown = changed("/home/shop_prod/data", owner="", group="")
    assert differences(replace(unknown, account="", services=None)) == []


def test_a_missing_account_and_a_stopped_service_are_told() -> None:
    facts = replace(facts_as_expected(), account="missing", services={"web": "exited"})
    account, service = map(str, differences(facts))
    assert account.startswith("account: expected shop_prod, found missing; useradd ")
    assert service.startswith("service web: expected running, found exited; ")


def test_a_database_that_is_not_made_yet_is_no_difference() -> None:
    facts = facts_as_expected()
    assert facts.entries
    entries = dict(facts.entries)
    del entries["/home/shop_prod/data/shop.sqlite3"]
    assert differences(replace(facts, entries=entries)) == []


# --- looking --------------------------------------------------------------------------


def made(tmp_path: Path) -> list[Entry]:
    """Awkward names included."""
    (tmp_path / "it's; $HOME").mkdir(mode=0o750)
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").write_text("")
    (tmp_path / "link").symlink_to("file")
    names = ("it's; $HOME", "file", "empty", "link", "missing")
    return [Entry(str(tmp_path / name)) for name in names]


def test_looking_from_inside_and_over_a_shell_finds_the_same(tmp_path: Path) -> None:
    """What `inv doctor` does over SSH, and `python -m stagetools` in the process."""
    entries = made(tmp_path)
    own = get_actual_system_from_name("shop_prod")
    system = replace(SHOP, user=own.user, group=own.group)
    environment = {"PATH": "/usr/bin:/bin"}
    printed = subprocess.run(
        words(system, entries),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    there = parse(printed.stdout)
    here = look_here(system, entries)
    assert there.entries == here.entries
    assert there.account == here.account == own.group
    assert here.entries
    assert len(here.entries) == len(entries) - 1
    assert here.entries[str(tmp_path / "it's; $HOME")].mode == 0o750


def test_looking_changes_nothing_and_needs_no_account(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            "sh",
            "-c",
            LOOK,
            "look",
            "no_such_prod",
            "no_such_prod",
            str(tmp_path / "missing"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[0] == "account\tmissing"
    assert parse(done.stdout).entries == {}
    assert list(tmp_path.iterdir()) == []


def test_services_are_read_from_the_engine(tmp_path: Path) -> None:
    """An older release's container that exited does not hide the one that runs."""
    docker = tmp_path / "docker"
    docker.write_text(
        "#!/bin/sh\nprintf 'service\\tweb\\trunning\\nservice\\tweb\\texited\\n'\n"
    )
    docker.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        words(SHOP, []), env=environment, capture_output=True, text=True, check=True
    )
    assert parse(done.stdout).services == {"web": "running"}


@pytest.mark.parametrize(
    "text", ["", "\n\n", "entry\tx\n", "Welcome!\tto\tthe machine\n"]
)
def test_what_a_login_shell_prints_besides_does_no_harm(text: str) -> None:
    assert parse(text) == Facts(account="", entries={}, services=None)


# --- the command ----------------------------------------------------------------------


def test_a_fresh_checkout_is_as_expected(site: Site) -> None:
    done = site.run("-m", "stagetools")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("shop_dev at ")
    assert done.stdout.endswith("as expected\n")


def test_another_name_shows_what_differs(production: Site) -> None:
    done = production.run("-m", "stagetools")
    assert done.returncode == 1
    head, *lines = done.stdout.splitlines()
    assert head.startswith("shop_prod at /home/shop_prod")
    assert "account: expected shop_prod, found missing; useradd " in done.stdout
    for line in lines:
        assert ": expected " in line
        assert "; " in line


def test_json_has_both_systems_and_each_difference(production: Site) -> None:
    done = production.run("-m", "stagetools", "--json")
    said = json.loads(done.stdout)
    assert done.returncode == 1
    assert said["expected"]["user"] == "shop_prod"
    assert said["actual"]["user"] != "shop_prod"
    assert {"subject", "expected", "found", "remedy"} == set(said["differences"][0])
    assert production.variables["SECRET_KEY"] not in done.stdout


def test_settings_that_do_not_load_are_a_difference(production: Site) -> None:
    production.variables["SECRET_KEY"] = ""
    done = production.run("-m", "stagetools")
    assert done.returncode == 1
    assert (
        "settings: expected to load, found ConfigError: SECRET_KEY is missing"
        in done.stdout
    )


def test_a_setting_that_overrules_the_stage_is_a_difference(production: Site) -> None:
    file = production.root / "stagetools_project/settings.py"
    file.write_text(file.read_text() + "\nDEBUG = True\n")
    done = production.run("-m", "stagetools")
    assert "is_debug: expected False, found True; remove DEBUG" in done.stdout


def test_without_a_name_it_exits_2(tmp_path: Path, site: Site) -> None:
    site.root = tmp_path
    done = site.run("-m", "stagetools", PYTHONPATH=str(Path(__file__).parents[2]))
    assert done.returncode == 2
    assert "This installation has no name." in done.stderr


def test_in_a_container_only_what_the_image_does_not_decide_is_compared(
    production: Site,
) -> None:
    done = production.run("-m", "stagetools", STAGETOOLS_RELEASE="20260101-1")
    for subject in ("venv_dir", "python_path", "static_dir"):
        assert f"{subject}:" not in done.stdout
