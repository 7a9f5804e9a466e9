"""The database's part: what a release says of it becomes decisions and words."""

import io
import json

import pytest
from rich.console import Console

from stagetools.database.protocol import (
    Copied,
    Failed,
    Finding,
    Known,
    Migrated,
    Migration,
    Plan,
    Rehearsed,
    Reversed,
    Snapshot,
    Unknown,
    Value,
)
from stagetools.deploy.commands import database as commands
from stagetools.deploy.console.terminal import Terminal
from stagetools.deploy.outcome import Outcome
from stagetools.deploy.standing import Standing
from stagetools.deploy.steps import database
from stagetools.errors import CommandFailed, ConnectionFailed, StageError
from tests.steps.scripted import Answer, ScriptedHost, failure, lines

NEW = "R2"
DROPS = Finding("shop.0002_price", "drops item.cost")
PRICE = Migration(migration="shop.0002_price", seconds=1.5)
STOCK = Migration(migration="shop.0003_stock", seconds=0.75)
REHEARSED = (
    lines(Copied(copied=0.25))
    + "Operations to perform: by some signal's print\n"
    + lines(PRICE, STOCK, Rehearsed(rehearsed=2.4))
)
ROLLED_BACK = Failed(failed=PRICE.migration, atomic=True)


def quiet(line: str) -> None: ...


@pytest.fixture
def asks(layout):
    """A host that answers one command of stagetools.database, in a container for `overlay`."""

    def asks(word: str, answer: Answer | Value, *more: str, overlay="task", **where):
        text = commands.run(layout, NEW, word, *more, overlay=overlay, **where).text
        plain = isinstance(answer, str | BaseException)
        return ScriptedHost({text: answer if plain else lines(answer)})

    return asks


def test_a_plan_is_read_among_what_a_project_prints(at, asks) -> None:
    said = Plan(pending=(PRICE.migration,), breaking=(DROPS,))
    host = asks("plan", f"a warning at import\n{lines(said)}")
    assert database.plan(at(host), NEW) == said


@pytest.mark.parametrize("more", ["goodbye", '{"event": "shutdown"}', "{", "[1]"])
def test_what_a_project_prints_when_it_ends_is_no_result(at, asks, more: str) -> None:
    """By atexit, or from a logger that writes JSON."""
    host = asks("known", f"{lines(Known(known=('shop.0001',)))}{more}\n")
    assert database.known(at(host), NEW) == ["shop.0001"]


def test_without_any_result_it_is_said(at, asks) -> None:
    with pytest.raises(CommandFailed, match="known printed no result"):
        database.known(at(asks("known", '{"event": "shutdown"}\n')), NEW)


def test_what_a_newer_version_says_is_refused_in_words(at, asks, refused) -> None:
    newer = lines(Known(known=())).replace('"stagetools": 1', '"stagetools": 2')
    error = refused(database.known, at(asks("known", newer)), NEW)
    assert "made by a newer version of the template" in error.what
    assert error.remedy.startswith("Update the template first")


@pytest.mark.parametrize(
    ("more", "wants"),
    [
        *(({"breaking": (DROPS,)}, True), ({"unforeseeable": (DROPS,)}, True)),
        *(({"breaking": (DROPS,), "sqlite": False}, False), ({}, False)),
    ],
)
def test_only_what_the_release_before_may_not_meet_wants_a_copy(more, wants) -> None:
    assert Plan(pending=(PRICE.migration,), **more).wants_a_copy is wants


def test_code_that_cannot_even_say_its_plan_has_none(at, asks) -> None:
    assert database.try_plan(at(asks("plan", failure("ImportError"))), NEW) is None


def test_what_an_older_release_does_not_know(at, asks) -> None:
    said = Unknown(unknown=("a.0002",))
    host = asks("unknown", said)
    assert database.plan_undo(at(host), NEW, ["a.0001"]) == said
    assert json.loads(host.sent[host.ran[0]]) == ["a.0001"]


def test_it_is_asked_of_a_copy_by_its_directory(at, asks, layout) -> None:
    copy = layout.data_copy("R3")
    host = asks("unknown", Unknown(unknown=()), data=copy)
    assert database.plan_undo(at(host), NEW, ["a"], on=copy).unknown == ()


def test_a_rehearsal_tells_each_migrations_time(at, asks) -> None:
    lines: list[str] = []
    host = asks("rehearse", REHEARSED, overlay="rehearse")
    rehearsal = database.rehearse(at(host), NEW, lines.append)
    assert rehearsal.seconds == 2.25
    assert rehearsal.outcome.text == (
        "shop.0002_price 1.50 s, shop.0003_stock 0.75 s, on a copy made in 0.25 s"
    )
    assert lines[1:3] == [
        "Operations to perform: by some signal's print",
        "migration shop.0002_price, seconds 1.5",
    ]


def test_lines_of_json_that_a_project_logs_are_lines_like_others(at, asks) -> None:
    """Both outputs come as one, and many projects log in JSON."""
    foreign = '{"level": "info", "event": "copied"}\n{not json}\n{"seconds": 3}\n'
    host = asks("rehearse", foreign + REHEARSED, overlay="rehearse")
    lines: list[str] = []
    rehearsal = database.rehearse(at(host), NEW, lines.append)
    assert rehearsal.seconds == 2.25
    assert "{not json}" in lines


def test_a_rehearsal_that_fails_names_the_migration(at, asks, refused) -> None:
    said = lines(Copied(copied=0.1), ROLLED_BACK) + "no such column"
    host = asks("rehearse", failure(said), overlay="rehearse")
    error = refused(database.rehearse, at(host), NEW, quiet)
    assert error.what == (
        "Rehearse: the migrations fail on a copy of the database. It is shop.0002_price."
    )
    assert error.__cause__.output == said  # type: ignore[union-attr]


# --- on a copy of the release's own ------------------------------------------------------

MIGRATED = lines(PRICE, Migrated(migrated=1.6))


@pytest.mark.parametrize(
    ("rehearsal", "overlay", "words"),
    [
        (True, "rehearse", "the migrations fail on a copy of the database"),
        (False, "task", "a migration failed on the copy that was to be live"),
    ],
)
def test_a_copy_is_migrated_as_what_it_is_for(
    at, asks, refused, rehearsal: bool, overlay: str, words: str
) -> None:
    """Only what is thrown away may act on nothing else."""
    host = asks("migrate", MIGRATED, overlay=overlay)
    done = database.migrate_copy(at(host), NEW, quiet, rehearsal=rehearsal)
    assert (done.seconds, done.outcome.text) == (
        1.5,
        "shop.0002_price 1.50 s, on a copy",
    )
    host = asks("migrate", failure("{}\nlocked"), overlay=overlay)
    error = refused(database.migrate_copy, at(host), NEW, quiet, rehearsal=rehearsal)
    assert words in error.what


@pytest.mark.parametrize(
    ("rehearsal", "overlay"), [(True, "rehearse"), (False, "task")]
)
def test_undoing_is_told_or_refused(
    at, asks, layout, refused, rehearsal: bool, overlay: str
) -> None:
    copy = layout.data_copy("R3")
    how = {"on": copy, "rehearsal": rehearsal}
    host = asks("reverse", Reversed(reversed=0.5), overlay=overlay, data=copy)
    done = database.undo_on_copy(at(host), NEW, ["a.0001"], **how)
    assert done.outcome.text == "undone on a copy in 0.50 s"
    assert json.loads(host.sent[host.ran[0]]) == ["a.0001"]
    host = asks("reverse", failure("IrreversibleError"), overlay=overlay, data=copy)
    error = refused(database.undo_on_copy, at(host), NEW, ["a"], **how)
    assert "cannot be undone on a copy" in error.what


# --- what is asked -----------------------------------------------------------------------


def asked(plan: Plan, seconds: float, limit: float = 2) -> list[str]:
    questions: list[str] = []
    rehearsal = database.Rehearsal(Outcome(True, ""), seconds)
    database.agree(plan, rehearsal, limit, lambda text, flag="": questions.append(text))
    return questions


def asked_to_wait(plan: Plan, seconds: float, wait: float) -> list[str]:
    questions: list[str] = []
    rehearsal = database.Rehearsal(Outcome(True, ""), seconds)
    ask = lambda text, flag="": questions.append(text)  # noqa: E731
    database.agree(plan, rehearsal, 2, ask, wait=wait)
    return questions


FINE = Plan(pending=(PRICE.migration,))
AT_ONCE = database.Rehearsal(Outcome(True, ""), 0.1)
BREAKS = Plan(pending=(PRICE.migration,), breaking=(DROPS,))


def test_what_nobody_notices_is_not_asked() -> None:
    assert asked(FINE, 1.9) == []


def test_what_the_serving_release_cannot_live_with_is_asked() -> None:
    (question,) = asked(BREAKS, 0.1)
    assert "migrations: shop.0002_price drops item.cost." in question
    assert "first add what is new, later remove what is old. Continue?" in question


def test_the_answer_may_be_given_beforehand_and_for_that_question_alone() -> None:
    """In CI nobody is there to be asked."""
    log = Terminal(Console(file=io.StringIO()))
    with pytest.raises(StageError) as caught:
        database.agree(BREAKS, AT_ONCE, 2, log.agree)
    assert caught.value.remedy.endswith("beforehand with --allow-breaking.")
    database.agree(BREAKS, AT_ONCE, 2, log.agree, allow_breaking=True)
    slow = database.Rehearsal(Outcome(True, ""), 9)
    with pytest.raises(StageError, match="writers waiting") as caught:
        database.agree(BREAKS, slow, 2, log.agree, allow_breaking=True)
    assert caught.value.remedy.endswith("beforehand with --yes.")


def test_a_wait_over_the_limit_is_asked_with_both_numbers() -> None:
    (question,) = asked(FINE, 3.21)
    assert "about 3.2 s" in question
    assert "is 2 s" in question


def test_on_a_copy_nothing_breaks_and_visitors_wait() -> None:
    assert asked_to_wait(BREAKS, 0.1, wait=1.5) == []
    (question,) = asked_to_wait(BREAKS, 3, wait=4.5)
    assert "keep visitors waiting for about 4.5 s" in question


def test_both_are_asked() -> None:
    assert len(asked(BREAKS, 9)) == 2


# --- migrating ----------------------------------------------------------------------------


@pytest.fixture
def standing() -> Standing:
    return Standing(before="R1", serves="R1")


def test_migrating_tells_what_was_applied(at, asks, standing) -> None:
    host = asks("migrate", MIGRATED)
    outcome, applied = database.migrate(at(host), NEW, standing, quiet)
    assert outcome == Outcome(True, "1 applied in 1.60 s")
    assert applied == ("shop.0002_price",)
    assert standing.applied == ["shop.0002_price"]
    assert not standing.migrating


def test_migrating_again_changes_nothing(at, asks, standing) -> None:
    host = asks("migrate", Migrated(migrated=0.1))
    outcome, applied = database.migrate(at(host), NEW, standing, quiet)
    assert outcome == Outcome(False, "nothing to apply")
    assert applied == ()
    assert "Its database was not touched" in standing.words()


ONE = lines(PRICE)
IN_PART = Failed(failed=PRICE.migration, atomic=False)
NEXT = Failed(failed=STOCK.migration, atomic=True)
NAME = PRICE.migration


def cut_off(error: BaseException, output: str) -> BaseException:
    error.output = output  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("answer", "applied", "partly", "migrating"),
    [
        (failure(lines(ROLLED_BACK)), [], "", False),
        (failure(lines(IN_PART)), [], NAME, False),
        (failure(lines(PRICE, NEXT)), [NAME], "", False),
        (failure(f"{ONE}Killed", status=137), [NAME], "", True),
        (failure("no such image"), [], "", True),
        (cut_off(KeyboardInterrupt(), ONE), [NAME], "", True),
        (cut_off(ConnectionFailed("gone"), ""), [], "", True),
    ],
    ids=["undone", "in part", "second", "killed", "never began", "ctrl-c", "lost"],
)  # fmt: skip
def test_a_migration_that_fails_live_is_known_to_the_standing(
    at, asks, standing, answer, applied, partly: str, migrating: bool
) -> None:
    host = asks("migrate", answer)
    host.script["database.end"] = ""
    with pytest.raises((StageError, KeyboardInterrupt)):
        database.migrate(at(host), NEW, standing, quiet)
    assert standing.applied == applied
    assert standing.partly == partly
    assert standing.migrating is migrating


def test_it_names_the_migration_that_failed(at, asks, standing, refused) -> None:
    host = asks("migrate", failure(lines(ROLLED_BACK)))
    error = refused(database.migrate, at(host), NEW, standing, quiet)
    assert error.what == (
        "Migrate: a migration failed on the live database. It is shop.0002_price."
    )


def test_ctrl_c_ends_the_migration_on_the_server(at, asks, standing) -> None:
    host = asks("migrate", KeyboardInterrupt())
    host.script["database.end"] = ""
    with pytest.raises(KeyboardInterrupt):
        database.migrate(at(host), NEW, standing, quiet)
    assert host.names == ["database.migrate", "database.end"]


def test_a_snapshot_is_told_by_its_path(at, asks) -> None:
    said = Snapshot(snapshot="/b/before-R2.sqlite3")
    host = asks("snapshot", said, "before-R2")
    assert database.snapshot(at(host), NEW, "before-R2") == "/b/before-R2.sqlite3"


def test_a_snapshot_that_fails_ends_the_deploy_before_anything_is_migrated(
    at, asks
) -> None:
    host = asks("snapshot", failure("disk full"), "before-R2")
    with pytest.raises(StageError):
        database.snapshot(at(host), NEW, "before-R2")
