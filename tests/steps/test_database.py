"""The database's part: what a release says of it becomes decisions and words."""

import json

import pytest

from stagetools.deploy.commands import database as commands
from stagetools.deploy.steps import Outcome, database
from stagetools.errors import CommandFailed, StageError
from tests.steps.scripted import ScriptedHost, failure

NEW = "R2"
REHEARSED = """\
{"copied": 0.25}
Operations to perform: by some signal's print
{"migration": "shop.0002_price", "seconds": 1.5}
{"migration": "shop.0003_stock", "seconds": 0.75}
{"rehearsed": 2.4}
"""


def quiet(line: str) -> None: ...


@pytest.fixture
def asks(layout):
    """A host that answers one command of stagetools.database."""

    def asks(word: str, answer: object, *more: str) -> ScriptedHost:
        text = commands.run(layout, NEW, word, *more).text
        said = (
            answer if isinstance(answer, (str, CommandFailed)) else json.dumps(answer)
        )
        return ScriptedHost({text: said})

    return asks


def test_a_plan_is_read_from_the_last_line(asks, layout) -> None:
    said = {
        "pending": ["shop.0002_price"],
        "breaking": [["shop.0002_price", "drops item.cost"]],
        "size": 7,
        "sqlite": True,
    }
    host = asks("plan", f"a warning at import\n{json.dumps(said)}\n")
    plan = database.plan(host, layout, NEW)
    assert plan == database.Plan(
        ("shop.0002_price",), ("shop.0002_price drops item.cost",), 7, True
    )


def test_code_that_cannot_even_say_its_plan_has_none(asks, layout) -> None:
    assert database.try_plan(asks("plan", failure("ImportError")), layout, NEW) is None


def test_what_an_older_release_does_not_know(asks, layout) -> None:
    said = {"unknown": ["a.0002"], "breaking": [["a.0002", "x"]], "irreversible": []}
    host = asks("unknown", said)
    assert database.plan_undo(host, layout, NEW, ["a.0001"]) == database.Undo(
        ("a.0002",), True, ()
    )
    assert json.loads(host.sent[host.ran[0]]) == ["a.0001"]


def test_a_rehearsal_tells_each_migrations_time(asks, layout) -> None:
    lines: list[str] = []
    host = asks("rehearse", REHEARSED)
    rehearsal = database.rehearse(host, layout, NEW, lines.append)
    assert rehearsal.seconds == 2.25
    assert rehearsal.outcome.text == (
        "shop.0002_price 1.50 s, shop.0003_stock 0.75 s, on a copy made in 0.25 s"
    )
    assert lines[1:3] == [
        "Operations to perform: by some signal's print",
        "migration shop.0002_price, seconds 1.5",
    ]


def test_lines_of_json_that_a_project_logs_are_lines_like_others(asks, layout) -> None:
    """Both outputs come as one, and many projects log in JSON."""
    foreign = '{"level": "info", "event": "copied"}\n{not json}\n{"seconds": 3}\n'
    host = asks("rehearse", foreign + REHEARSED)
    lines: list[str] = []
    rehearsal = database.rehearse(host, layout, NEW, lines.append)
    assert rehearsal.seconds == 2.25
    assert "{not json}" in lines


def test_a_rehearsal_that_fails_leaves_the_live_database(asks, layout, refused) -> None:
    host = asks("rehearse", failure("no such column"))
    error = refused(database.rehearse, host, layout, NEW, quiet)
    assert "The live database was not touched" in error.untouched
    assert error.__cause__.output == "no such column"  # type: ignore[union-attr]


# --- what is asked -----------------------------------------------------------------------


def asked(plan: database.Plan, seconds: float, limit: float = 2) -> list[str]:
    questions: list[str] = []
    rehearsal = database.Rehearsal(Outcome(True, ""), seconds)
    database.agree(plan, rehearsal, limit, questions.append)
    return questions


FINE = database.Plan(("shop.0002",), (), 0, sqlite=True)
BREAKS = database.Plan(("shop.0002",), ("shop.0002 drops a.b",), 0, sqlite=True)


def test_what_nobody_notices_is_not_asked() -> None:
    assert asked(FINE, 1.9) == []


def test_what_the_serving_release_cannot_live_with_is_asked() -> None:
    (question,) = asked(BREAKS, 0.1)
    assert "shop.0002 drops a.b" in question
    assert "first expand, later contract" in question


def test_a_wait_over_the_limit_is_asked_with_both_numbers() -> None:
    (question,) = asked(FINE, 3.21)
    assert "about 3.2 s" in question
    assert "is 2 s" in question


def test_both_are_asked() -> None:
    assert len(asked(BREAKS, 9)) == 2


# --- migrating ----------------------------------------------------------------------------


def test_migrating_tells_what_was_applied(asks, layout) -> None:
    said = '{"migration": "shop.0002_price", "seconds": 1.5}\n{"migrated": 1.6}\n'
    outcome, applied = database.migrate(asks("migrate", said), layout, NEW, "", quiet)
    assert outcome == Outcome(True, "1 applied in 1.60 s")
    assert applied == ("shop.0002_price",)


def test_migrating_again_changes_nothing(asks, layout) -> None:
    host = asks("migrate", '{"migrated": 0.1}\n')
    outcome, applied = database.migrate(host, layout, NEW, "", quiet)
    assert outcome == Outcome(False, "nothing to apply")
    assert applied == ()


def test_a_migration_that_fails_live_names_the_copy_from_before(
    asks, layout, refused
) -> None:
    host = asks("migrate", failure("locked"))
    kept = "/home/shop_prod/backups/before-R2.sqlite3"
    error = refused(database.migrate, host, layout, NEW, kept, quiet)
    assert error.untouched.endswith(f"As it was before: {kept}.")
    without = refused(database.migrate, host, layout, NEW, "", quiet)
    assert "As it was before" not in without.untouched


@pytest.mark.parametrize(
    ("how", "word", "where"),
    [
        (database.rehearse_undo, "rehearse-reverse", "a copy of the database"),
        (database.undo, "reverse", "the live database"),
    ],
)
def test_undoing_is_told_or_refused(
    asks, layout, refused, how, word: str, where: str
) -> None:
    done = how(asks(word, '{"reversed": 0.5}'), layout, NEW, ["a.0001"])
    assert done.text.endswith("in 0.50 s")
    error = refused(how, asks(word, failure("IrreversibleError")), layout, NEW, ["a"])
    assert where in error.what


def test_a_snapshot_is_told_by_its_path(asks, layout) -> None:
    host = asks("snapshot", {"snapshot": "/b/before-R2.sqlite3"}, "before-R2")
    assert database.snapshot(host, layout, NEW, "before-R2") == "/b/before-R2.sqlite3"


def test_a_snapshot_that_fails_ends_the_deploy_before_anything_is_migrated(
    asks, layout
) -> None:
    host = asks("snapshot", failure("disk full"), "before-R2")
    with pytest.raises(StageError):
        database.snapshot(host, layout, NEW, "before-R2")
