"""`python -m stagetools.database COMMAND`: what a deploy asks a release to do.

Standard output has a line of `protocol` for each value; the last one is the result. Exit 1
with a traceback on standard error when the command fails; a migration that fails is named
before.

    plan                  the pending migrations, what the release before cannot live with,
                          and what nobody can foresee
    known                 every migration of this release's code
    rehearse              migrate a copy of the live database, and start the site on it
    snapshot NAME         a copy into the backups directory
    migrate               migrate the live database
    unknown               which applied migrations the release whose `known` comes on
                          standard input does not know, and whether they can be undone
    rehearse-reverse, reverse    undo those (standard input as above), on a copy or live
    ready                 make sure of a database file that was put in its place: sound, and
                          in WAL mode; with the migrations that it has
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import aaa_script_setup  # noqa: F401 - sets Django up
from aaa_env_setup import SYSTEM

from stagetools.database import plan, protocol, run
from stagetools.database.copy import copy, remove, settle
from stagetools.database.undo import cannot_undo, unknown_to
from stagetools.errors import StageError
from stagetools.web import rehearsal

REHEARSAL = "rehearsal.sqlite3"


def say(value: protocol.Value) -> None:
    """One value, at once."""
    sys.stdout.write(protocol.line(value) + "\n")
    sys.stdout.flush()


def told(migration: str, seconds: float) -> None:
    say(protocol.Migration(migration=migration, seconds=round(seconds, 3)))


def failed(migration: str, atomic: bool) -> None:
    say(protocol.Failed(failed=migration, atomic=atomic))


def show_plan() -> None:
    to_come = plan.pending()
    say(
        protocol.Plan(
            pending=tuple(plan.label(m) for m, _ in to_come),
            breaking=tuple(plan.breaking(to_come)),
            unforeseeable=tuple(plan.unforeseeable(to_come)),
            sqlite=run.is_sqlite(),
        )
    )


def show_known() -> None:
    say(protocol.Known(known=tuple(plan.known())))


def rehearse() -> None:
    """Migrate a copy, then start the site on it: a release that cannot start is refused."""
    with run.on_a_copy(REHEARSAL) as seconds:
        say(protocol.Copied(copied=round(seconds, 3)))
        started = time.monotonic()
        run.migrate(told, failed)
        taken = time.monotonic() - started
        _start_site()
    say(protocol.Rehearsed(rehearsed=round(taken, 3)))


def _start_site() -> None:
    from django.test import Client

    from stagetools import wsgi  # noqa: F401 - imports every view

    answer = Client().get("/healthz")
    if answer.status_code != 200:
        raise RuntimeError(f"on the migrated copy /healthz answers {answer.content!r}")


def snapshot(name: str) -> None:
    """A copy that stays, in the backups directory."""
    run.refuse_others()
    to = Path(SYSTEM.base_dir) / "backups" / f"{name}.sqlite3"
    started = time.monotonic()
    copy(run.live_path(), to)
    to.chmod(0o600)
    seconds = round(time.monotonic() - started, 3)
    say(protocol.Snapshot(snapshot=str(to), seconds=seconds))


def migrate() -> None:
    run.refuse_a_file_of_the_image()
    if run.is_sqlite():
        remove(run.live_path().with_name(REHEARSAL))
    started = time.monotonic()
    run.migrate(told, failed)
    say(protocol.Migrated(migrated=round(time.monotonic() - started, 3)))


def unknown() -> None:
    names = protocol.names_in(sys.stdin.read())
    to_undo = unknown_to(names)
    say(
        protocol.Unknown(
            unknown=tuple(plan.label(m) for m, _ in to_undo),
            breaking=tuple(plan.breaking(to_undo)),
            irreversible=tuple(cannot_undo(names)),
            sqlite=run.is_sqlite(),
        )
    )


def reverse() -> None:
    """Undo, newest first, what an older release does not know."""
    names = protocol.names_in(sys.stdin.read())
    started = time.monotonic()
    run.reverse(told, names, failed)
    say(protocol.Reversed(reversed=round(time.monotonic() - started, 3)))


def rehearse_reverse() -> None:
    with run.on_a_copy(REHEARSAL) as seconds:
        say(protocol.Copied(copied=round(seconds, 3)))
        reverse()


def ready() -> None:
    run.refuse_others()
    settle(run.live_path())
    applied = tuple(plan.label(m) for m, _ in plan.applied())
    say(protocol.Ready(ready=True, migrations=applied))


COMMANDS: dict[str, Callable[..., None]] = {
    "plan": show_plan,
    "known": show_known,
    "rehearse": rehearse,
    "snapshot": snapshot,
    "migrate": migrate,
    "unknown": unknown,
    "rehearse-reverse": rehearse_reverse,
    "reverse": reverse,
    "ready": ready,
}


def main(words: list[str]) -> None:
    command, *more = words
    if command not in COMMANDS:
        sys.exit(
            f"This release does not know {command!r}: it was made by an older version of"
            " the template."
        )
    rehearsal.prepare()
    try:
        COMMANDS[command](*more)
    except StageError as error:
        sys.exit(str(error))
    except Exception as error:
        rehearsal.explain(error)
        raise


if __name__ == "__main__":
    main(sys.argv[1:])
