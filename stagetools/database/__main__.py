"""`python -m stagetools.database COMMAND`: what a deploy asks a release to do.

Standard output is JSON, a value a line; the last line is the result. Exit 1 with a
traceback on standard error when the command fails; a migration that fails is named before,
with whether its transaction undid all of it: {"failed": "shop.0003_x", "atomic": true}.

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

import json
import sys
import time
from pathlib import Path
from typing import Any

import aaa_script_setup  # noqa: F401 - sets Django up
from aaa_env_setup import SYSTEM

from stagetools.database import plan, run
from stagetools.database.copy import copy, remove, settle
from stagetools.database.undo import cannot_undo, unknown_to
from stagetools.errors import StageError
from stagetools.web import rehearsal

REHEARSAL = "rehearsal.sqlite3"


def say(**values: Any) -> None:
    """One value, at once."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def told(migration: str, seconds: float) -> None:
    say(migration=migration, seconds=round(seconds, 3))


def failed(migration: str, atomic: bool) -> None:
    say(failed=migration, atomic=atomic)


def pairs(found: list[plan.Breaking]) -> list[list[str]]:
    return [[one.migration, one.what] for one in found]


def show_plan() -> None:
    to_come = plan.pending()
    path = run.live_path()
    size = path.stat().st_size if run.is_sqlite() and path.exists() else 0
    pending = [plan.label(m) for m, _ in to_come]
    say(
        pending=pending,
        breaking=pairs(plan.breaking(to_come)),
        unforeseeable=pairs(plan.unforeseeable(to_come)),
        size=size,
        sqlite=run.is_sqlite(),
    )


def rehearse() -> None:
    """Migrate a copy, then start the site on it: a release that cannot start is refused."""
    with run.on_a_copy(REHEARSAL) as seconds:
        say(copied=round(seconds, 3))
        started = time.monotonic()
        run.migrate(told, failed)
        taken = time.monotonic() - started
        _start_site()
    say(rehearsed=round(taken, 3))


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
    say(snapshot=str(to), seconds=round(time.monotonic() - started, 3))


def migrate() -> None:
    if run.is_sqlite():
        remove(run.live_path().with_name(REHEARSAL))
    started = time.monotonic()
    run.migrate(told, failed)
    say(migrated=round(time.monotonic() - started, 3))


def unknown() -> None:
    names = json.load(sys.stdin)
    to_undo = unknown_to(names)
    cannot = cannot_undo(names)
    say(
        unknown=[plan.label(m) for m, _ in to_undo],
        breaking=pairs(plan.breaking(to_undo)),
        irreversible=pairs(cannot),
    )


def reverse() -> None:
    """Undo, newest first, what an older release does not know."""
    names = json.load(sys.stdin)
    started = time.monotonic()
    run.reverse(told, names, failed)
    say(reversed=round(time.monotonic() - started, 3))


def rehearse_reverse() -> None:
    with run.on_a_copy(REHEARSAL) as seconds:
        say(copied=round(seconds, 3))
        reverse()


def ready() -> None:
    run.refuse_others()
    settle(run.live_path())
    say(ready=True, migrations=[plan.label(m) for m, _ in plan.applied()])


COMMANDS = {
    "plan": show_plan,
    "known": lambda: say(known=plan.known()),
    "rehearse": rehearse,
    "migrate": migrate,
    "unknown": unknown,
    "rehearse-reverse": rehearse_reverse,
    "reverse": reverse,
    "ready": ready,
}


def main(words: list[str]) -> None:
    rehearsal.prepare()
    try:
        if words[0] == "snapshot":
            snapshot(words[1])
        else:
            COMMANDS[words[0]]()
    except StageError as error:
        sys.exit(str(error))
    except Exception as error:
        rehearsal.explain(error)
        raise


if __name__ == "__main__":
    main(sys.argv[1:])
