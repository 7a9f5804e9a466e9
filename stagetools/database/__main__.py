"""`python -m stagetools.database COMMAND`: what a deploy asks a release to do.

Standard output is JSON, a value a line; the last line is the result. Exit 1 with a
traceback on standard error when the command fails.

    plan                  the pending migrations, and what the release before cannot live with
    known                 every migration of this release's code
    rehearse              migrate a copy of the live database, and start the site on it
    snapshot NAME         a copy into the backups directory
    migrate               migrate the live database
    unknown               which applied migrations the release whose `known` comes on
                          standard input does not know, and whether they can be undone
    rehearse-reverse, reverse    undo those (standard input as above), on a copy or live
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import aaa_script_setup  # noqa: F401 - sets Django up
from aaa_env_setup import SYSTEM

from stagetools.database import plan, run
from stagetools.database.copy import copy, remove
from stagetools.database.undo import cannot_undo, unknown_to

REHEARSAL = "rehearsal.sqlite3"


def say(**values: Any) -> None:
    """One value, at once."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def told(migration: str, seconds: float) -> None:
    say(migration=migration, seconds=round(seconds, 3))


def show_plan() -> None:
    to_come = plan.pending()
    broken = [[b.migration, b.what] for b in plan.breaking(to_come)]
    path = run.live_path()
    size = path.stat().st_size if run.is_sqlite() and path.exists() else 0
    pending = [plan.label(m) for m, _ in to_come]
    say(pending=pending, breaking=broken, size=size, sqlite=run.is_sqlite())


def rehearse() -> None:
    """Migrate a copy, then start the site on it: a release that cannot start is refused."""
    with run.on_a_copy(REHEARSAL) as seconds:
        say(copied=round(seconds, 3))
        started = time.monotonic()
        run.migrate(told)
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
    to = Path(SYSTEM.base_dir) / "backups" / f"{name}.sqlite3"
    started = time.monotonic()
    copy(run.live_path(), to)
    to.chmod(0o600)
    say(snapshot=str(to), seconds=round(time.monotonic() - started, 3))


def migrate() -> None:
    remove(run.live_path().with_name(REHEARSAL))
    started = time.monotonic()
    run.migrate(told)
    say(migrated=round(time.monotonic() - started, 3))


def unknown() -> None:
    names = json.load(sys.stdin)
    to_undo = unknown_to(names)
    cannot = cannot_undo(names)
    say(
        unknown=[plan.label(m) for m, _ in to_undo],
        breaking=[[b.migration, b.what] for b in plan.breaking(to_undo)],
        irreversible=[[b.migration, b.what] for b in cannot],
    )


def reverse() -> None:
    """Undo, newest first, what an older release does not know."""
    names = json.load(sys.stdin)
    started = time.monotonic()
    run.reverse(told, names)
    say(reversed=round(time.monotonic() - started, 3))


def rehearse_reverse() -> None:
    with run.on_a_copy(REHEARSAL) as seconds:
        say(copied=round(seconds, 3))
        reverse()


COMMANDS = {
    "plan": show_plan,
    "known": lambda: say(known=plan.known()),
    "rehearse": rehearse,
    "migrate": migrate,
    "unknown": unknown,
    "rehearse-reverse": rehearse_reverse,
    "reverse": reverse,
}


def main(words: list[str]) -> None:
    if words[0] == "snapshot":
        snapshot(words[1])
    else:
        COMMANDS[words[0]]()


if __name__ == "__main__":
    main(sys.argv[1:])
