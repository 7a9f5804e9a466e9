"""When backups are made, and when they need somebody: worked out, without a server."""

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stagetools.deploy import shell
from stagetools.deploy.backups import (
    Backup,
    Keep,
    Result,
    Timer,
    Watch,
    parse_watch,
)
from stagetools.deploy.config import load
from stagetools.deploy.steps.backup import Entry
from stagetools.deploy.tasks.backups import backing_up
from stagetools.errors import ConfigError
from tests.spoiling import WAYS, spoil

DAY = 86400
NOW = 10**9


# --- the table of deploy.toml -----------------------------------------------------------------


def test_a_night_s_minute_follows_from_the_name() -> None:
    times = [Backup().calendar(f"shop{n}_prod") for n in range(60)]
    assert len(set(times)) > 40
    assert times[0] == Backup().calendar("shop0_prod")
    for time in times:
        assert re.fullmatch(r"\*-\*-\* 0[1-4]:[0-5]\d:00", time)


def test_a_drill_is_made_every_week_after_the_night() -> None:
    for n in range(60):
        words = Backup().drills(f"shop{n}_prod")
        assert re.fullmatch(r"[A-Z][a-z]{2} \*-\*-\* 0[6-9]:[0-5]\d:00", words)


EVERY = ("30 minutes", "1 hour", "6 hours", "2 days", "1 week", "Mon..Fri 03:00")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
@pytest.mark.parametrize("every", ["1 day", *EVERY])
def test_systemd_understands_each_interval(every: str) -> None:
    for words in (Backup(every=every).calendar("shop_prod"), Backup().drills("a_prod")):
        subprocess.run(
            ["systemd-analyze", "calendar", words], check=True, capture_output=True
        )


def test_never_is_never() -> None:
    never = Backup(every="never")
    assert never.calendar("shop_prod") == never.drills("shop_prod") == ""


def read(folder: Path, text: str) -> Backup:
    path = folder / "deploy.toml"
    path.write_text(
        f'[stages.prod]\ndomains = ["shop.test"]\n[stages.prod.backup]\n{text}\n'
    )
    return load(path, "prod").backup


@pytest.mark.parametrize("every", EVERY)
def test_what_can_be_meant_is_taken(tmp_path, every: str) -> None:
    assert read(tmp_path, f'every = "{every}"').every == every
    assert read(tmp_path, "keep = { days = 2 }").keep == Keep(days=2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('evry = "1 day"', "[stages.prod] of deploy.toml has a key that is not known"),
        ("keep = { years = 1 }", "not known: years"),
        ('to = "rest:https://me:secret@host/"', "has a password, which everybody would see"),
        ('to = "/mnt/disk"', "is a restic repository elsewhere; not '/mnt/disk'"),
        ("keep = 7", "keep in backup in [stages.prod] of deploy.toml must be a table"),
        ("keep = { days = -1 }", "keep.days in backup in [stages.prod]"),
        ("keep = { days = 0, weeks = 0, months = 0 }", "keeps no backup"),
        ('every = "7 hours"', "no timer comes round in it"),
        ('every = "0 days"', "no timer comes round in it"),
        ('every = ""', "is an interval, an OnCalendar expression of systemd, or never"),
        ("every = 1", "every in backup in [stages.prod] of deploy.toml must be a string"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(tmp_path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert said in caught.value.what


# --- how they stand -------------------------------------------------------------------------

WELL = Watch(
    now=NOW,
    since=NOW - 100 * DAY,
    backup=Result(began=NOW - 100, ended=NOW - 90, good=NOW - 90),
    drill=Result(began=NOW - 5 * DAY, ended=NOW - 5 * DAY, good=NOW - 5 * DAY),
    timer=Timer(runs=True, gap=DAY, next=NOW + DAY),
    drill_timer=Timer(runs=True, gap=7 * DAY),
)


def test_what_is_well_is_no_trouble() -> None:
    assert WELL.troubles() == []


def test_a_server_that_never_had_any_is_no_trouble() -> None:
    assert parse_watch("").troubles() == parse_watch("now=5\n").troubles() == []


@pytest.mark.parametrize(
    ("watch", "said"),
    [
        (
            replace(WELL, backup=replace(WELL.backup, said="the disk is full")),
            "the last backup failed: the disk is full",
        ),
        (
            replace(WELL, drill=replace(WELL.drill, ended=0)),
            "the last drill was cut off",
        ),
        (replace(WELL, timer=Timer()), "the timer of the backups does not run"),
        (replace(WELL, drill_timer=Timer()), "the timer of the drills does not run"),
        (replace(WELL, now=NOW + 2 * DAY), "the last backup is late"),
        (replace(WELL, drill=Result()), "the last drill is late"),
        (replace(WELL, backup=Result()), "the last backup is late"),
        (
            replace(WELL, backup=replace(WELL.backup, good=NOW + DAY)),
            "the last backup is dated in the future: was the clock put back?",
        ),
        (
            replace(WELL, ahead=3),
            "3 backups are dated in the future, so no old one is removed",
        ),
    ],
)
def test_what_needs_somebody_is_told(watch: Watch, said: str) -> None:
    assert watch.troubles() == [said]


def test_one_that_is_being_made_and_one_that_is_to_come_are_no_trouble() -> None:
    busy = replace(WELL, busy=True, backup=replace(WELL.backup, ended=0))
    fresh = replace(WELL, since=NOW - DAY, backup=Result(), drill=Result())
    assert busy.troubles() == fresh.troubles() == []


def test_by_hand_alone_nothing_is_late() -> None:
    never = replace(WELL, wanted=False, timer=Timer(), drill_timer=Timer(), now=2 * NOW)
    assert never.troubles() == []


# --- what is asked of a database ----------------------------------------------------------------


def ask(*words: object) -> dict:
    """As the server's script does it; the status says whether something is wrong."""
    done = subprocess.run(
        [sys.executable, "-I", "-", *map(str, words)],
        input=shell.script_text("sqlite.py"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = json.loads(done.stdout)
    assert done.returncode == ("wrong" in said), done.stderr
    return said


@pytest.fixture
def shop(tmp_path) -> Path:
    path = tmp_path / "shop.sqlite3"
    with closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE entry (text)")
        made.execute("CREATE TABLE django_migrations (id, app, name)")
        made.execute(
            "INSERT INTO django_migrations VALUES (2, 'shop', '0002'), (1, 'shop', '0001')"
        )
        made.executemany("INSERT INTO entry VALUES (?)", [("x" * 500,)] * 300)
        made.commit()
    return path


def test_a_sound_database_is_counted(shop) -> None:
    said = ask("judge", shop)
    assert said["tables"] == {"django_migrations": 2, "entry": 300}
    assert (said["rows"], said["bytes"]) == (302, shop.stat().st_size)
    assert said["migrations"] == ["shop.0001", "shop.0002"]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("word", ["judge", "settle"])
def test_what_is_not_sound_is_told_and_left_as_it_is(shop, how: str, word: str) -> None:
    spoil(shop, how)
    before = shop.read_bytes()
    assert ask(word, shop)["wrong"]
    assert shop.read_bytes() == before


def test_what_is_not_there_is_told(tmp_path) -> None:
    for words in (["judge", tmp_path / "a"], ["copy", tmp_path / "a", tmp_path / "b"]):
        assert ask(*words)["wrong"] == "there is no such file"
    assert list(tmp_path.iterdir()) == []


def test_a_copy_has_what_no_checkpoint_has_taken_in(shop, tmp_path) -> None:
    with closing(sqlite3.connect(shop)) as live:
        live.execute("PRAGMA journal_mode=WAL")
        live.execute("INSERT INTO entry VALUES ('in the log')")
        live.commit()
        plain = tmp_path / "plain.sqlite3"
        shutil.copy(shop, plain)  # as `cp` of the file does it
        assert ask("judge", plain)["tables"]["entry"] == 300
        copy = tmp_path / "copy.sqlite3"
        assert ask("copy", shop, copy)["bytes"] == copy.stat().st_size
        assert ask("judge", copy)["tables"]["entry"] == 301


def test_a_log_beside_a_file_becomes_part_of_it(shop, tmp_path) -> None:
    put = tmp_path / "put" / "shop.sqlite3"
    put.parent.mkdir()
    with closing(sqlite3.connect(shop)) as live:
        live.execute("PRAGMA journal_mode=WAL")
        live.execute("INSERT INTO entry VALUES ('in the log')")
        live.commit()
        shutil.copy(shop, put)
        shutil.copy(f"{shop}-wal", f"{put}-wal")
    assert ask("settle", put)["tables"]["entry"] == 301
    alone = tmp_path / "alone.sqlite3"
    shutil.copy(put, alone)
    assert ask("judge", alone)["tables"]["entry"] == 301


def test_other_rows_than_were_written_down_are_told(shop, tmp_path) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps(ask("judge", shop)))
    assert ask("compare", shop, manifest)["rows"] == 302
    with closing(sqlite3.connect(shop)) as made:
        made.execute("DELETE FROM entry WHERE rowid = 1")
        made.commit()
    said = ask("compare", shop, manifest)["wrong"]
    assert said == "entry has 299 rows, and 300 were counted in the backup"


# --- telling of them --------------------------------------------------------------------------


def test_a_backup_in_lines_fits_a_terminal_of_sixty_columns() -> None:
    then = datetime(2026, 1, 31, 7, tzinfo=UTC)
    snapshot = Entry(
        name="before-20260131-070000-0000000",
        at=then,
        kind="before a migration",
        bytes=120_000_000,
        where="backups/",
        drilled=then,
    )
    lines = backing_up._in_lines(*backing_up._row(snapshot)).splitlines()
    assert lines == [
        "before-20260131-070000-0000000  before a migration",
        "  2026-01-31 07:00:00 UTC, 120.0 MB, backups/",
        "  last drill 2026-01-31 07:00",
    ]
    assert max(map(len, lines)) <= 60


# --- what another stage's cache holds -----------------------------------------------------------


CACHE = "CREATE TABLE {} (cache_key PRIMARY KEY, value, expires)"
FILL = "INSERT INTO my_cache VALUES ('k', 'gASVpickle', '9999')"


def with_cache(shop: Path, *more: str) -> Path:
    with closing(sqlite3.connect(shop)) as made:
        for text in (CACHE.format("my_cache"), FILL, *more):
            made.execute(text)
        made.commit()
    return shop


def test_a_clone_has_nothing_of_the_other_s_cache(shop) -> None:
    """It holds pickles, and whoever reads one runs it."""
    with_cache(shop, CACHE.format('"My other ""one"""').replace("value", "more, VALUE"))
    said = ask("receive", shop)
    assert said["tables"] == {
        "My other \"one\"": 0, "django_migrations": 2, "entry": 300, "my_cache": 0,
    }  # fmt: skip
    assert b"gASVpickle" not in shop.read_bytes()


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (
            "CREATE TRIGGER again AFTER INSERT ON entry BEGIN"
            " INSERT INTO MY_CACHE VALUES (1, 2, 3); END",
            "its trigger again names my_cache",
        ),
        (
            "CREATE VIEW other AS SELECT 'k' cache_key, 'gASV' value, 9 expires",
            "other is a view with the columns of a cache",
        ),
    ],
)
def test_nor_what_would_fill_it_again(shop, sql: str, said: str) -> None:
    assert said in ask("receive", with_cache(shop, sql))["wrong"]
    assert ask("settle", shop)["tables"]["my_cache"] == 1  # which a restore keeps
