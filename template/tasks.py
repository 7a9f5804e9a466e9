"""Everything that one types from day to day: `inv --list`, and `inv --help TASK` for one."""

import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

from invoke import Collection, task
from invoke.main import program

from aaa_env_setup import SYSTEM
from stagetools.deploy.check import own_tests
from stagetools.deploy.config import uploads
from stagetools.deploy.console.failures import reports_errors
from stagetools.deploy.console.terminal import Terminal
from stagetools.deploy.console.typed import number, take
from stagetools.deploy.tasks import (
    environment,
    inspect,
    pipeline,
    readiness,
    relaunch,
    removal,
)
from stagetools.deploy.tasks.backups import (
    backing_up,
    cloning,
    local,
    lost,
    pushing,
    restoring,
)
from stagetools.deploy.tasks.rollback import roll_back
from stagetools.deploy.tasks.session import destination, open_session
from stagetools.deploy.tree import read_tree
from stagetools.errors import UsageError

ROOT = Path(__file__).parent
# Invoke empties the dictionary that a task gives it: each task gives one of its own.
STAGE = {"stage": "Which stage of deploy.toml; prod unless given."}
YES = {"yes": "Answer every question with yes."}
DRY = {
    "dry_run": "Say step by step what would be done, and change nothing.",
    "verbose": "With --dry-run: print the exact commands for the server, too.",
}
WAIT = {"wait": "How many seconds to wait for somebody else's task to end."}
ACCEPT = {
    "accept_host_key": "The fingerprint (SHA256:…) that an unknown server must have."
}


# What every task on a server begins with: the stage's system and its settings.
stage_named = partial(destination, ROOT, SYSTEM)


@task(
    help=STAGE
    | ACCEPT
    | YES
    | WAIT
    | DRY
    | {
        "allow_breaking": "Migrate also what the live release is not compatible with.",
        "restore": "On a new server: move the site there; of a lost one, the newest backup elsewhere.",
    }
)
@reports_errors
def deploy(
    context,
    stage="prod",
    accept_host_key="",
    yes=False,
    allow_breaking=False,
    restore=False,
    wait="0",
    dry_run=False,
    verbose=False,
):
    """Put the working tree before the users: upload, build, migrate, switch."""
    seconds = number("--wait", wait)
    to = stage_named(
        stage, yes=yes, dry=dry_run, verbose=verbose, accept=accept_host_key
    )
    put = lost.deploy if restore else pipeline.deploy
    put(ROOT, to, wait=seconds, allow_breaking=allow_breaking)


@task(
    help=STAGE
    | YES
    | WAIT
    | DRY
    | {
        "to": "Which release (or commit) to serve again; the one before unless given.",
        "restore_database": "Restore the snapshot from before the later migrations.",
    }
)
@reports_errors
def rollback(
    context,
    stage="prod",
    to="",
    restore_database=False,
    yes=False,
    wait="0",
    dry_run=False,
    verbose=False,
):
    """Serve an earlier release again, and undo the migrations it does not know."""
    seconds = number("--wait", wait)
    with open_session(
        stage_named(stage, yes=yes, dry=dry_run, verbose=verbose)
    ) as opened:
        roll_back(opened, to=to, restore_database=restore_database, wait=seconds)


@task(help=dict(STAGE))
@reports_errors
def releases(context, stage="prod"):
    """List the releases that are kept: when, by whom, from which commit."""
    with open_session(stage_named(stage)) as opened:
        inspect.releases(opened)


@task(help=STAGE | WAIT | DRY)
@reports_errors
def restart(context, stage="prod", wait="0", dry_run=False, verbose=False):
    """Serve the same release from a new container; no request fails."""
    seconds = number("--wait", wait)
    with open_session(stage_named(stage, dry=dry_run, verbose=verbose)) as opened:
        relaunch.restart(opened, wait=seconds)


@task(help=STAGE | ACCEPT)
@reports_errors
def status(context, stage="prod", accept_host_key=""):
    """Say which release serves, since when, how healthy it is, and how full the disk is."""
    with open_session(stage_named(stage, accept=accept_host_key)) as opened:
        inspect.status(opened)


@task(
    help=STAGE
    | {
        "tail": "How many lines; 100 unless given.",
        "follow": "Go on showing lines as they come, until Ctrl-C.",
        "since": "From when on: 1h, 30min, '2026-01-31 08:00'.",
        "grep": "Only lines that contain this word.",
        "json": "Each line as JSON, for another program.",
    }
)
@reports_errors
def logs(
    context, stage="prod", tail="100", follow=False, since="", grep="", json=False
):
    """Show what the site has written: its requests, its warnings, its errors."""
    lines = number("--tail", tail)
    with open_session(stage_named(stage)) as opened:
        inspect.logs(
            opened, tail=lines, follow=follow, since=since, grep=grep, json=json
        )


@task(
    positional=["command"],
    help=STAGE | {"command": "createsuperuser --email you@example.com"},
)
@reports_errors
def manage(context, command="", stage="prod"):
    """Run a command of manage.py as the release that serves, in a container of its own."""
    with open_session(stage_named(stage)) as opened:
        sys.exit(inspect.manage(opened, command))


@task(help=dict(STAGE))
@reports_errors
def ssh(context, stage="prod"):
    """Open a shell on the server."""
    with open_session(stage_named(stage)) as opened:
        sys.exit(inspect.ssh(opened))


@task(name="list", help=dict(STAGE))
@reports_errors
def env_list(context, stage="prod"):
    """List what the server's environment file holds, its values masked."""
    with open_session(stage_named(stage)) as opened:
        environment.list_names(opened)


@task(name="get", positional=["key"], help=STAGE | {"key": "The name of a value."})
@reports_errors
def env_get(context, key, stage="prod"):
    """Print one value of the server's environment file, as it is."""
    with open_session(stage_named(stage)) as opened:
        environment.show_value(opened, key)


@task(
    name="set",
    iterable=["value"],
    help=STAGE | DRY | {"value": "KEY=VALUE, or KEY to be asked; as many as you like."},
)
@reports_errors
def env_set(context, value, stage="prod", dry_run=False, verbose=False):
    """Set values on the server, and serve the release with them; no request fails."""
    with open_session(stage_named(stage, dry=dry_run, verbose=verbose)) as opened:
        environment.set_values(opened, value)


@task(
    name="unset",
    positional=["key"],
    help=STAGE | DRY | {"key": "The name of a value."},
)
@reports_errors
def env_unset(context, key, stage="prod", dry_run=False, verbose=False):
    """Remove a value from the server, and serve the release without it."""
    with open_session(stage_named(stage, dry=dry_run, verbose=verbose)) as opened:
        environment.unset(opened, key)


@task(
    help=STAGE
    | DRY
    | {
        "key": "Print the key that opens the backups, and do nothing else.",
        "verify": "Read the latest backup as if it were restored, and make none.",
        "download": "Bring a backup here, into this directory, and make none.",
        "name": "With --download: which one, as inv backups lists it; else the latest.",
    }
)
@reports_errors
def backup(
    context,
    stage="prod",
    key=False,
    verify=False,
    download="",
    name="latest",
    dry_run=False,
    verbose=False,
):
    """Make a backup now: database, uploads and environment, as they are at one moment."""
    if sum(map(bool, (key, verify, download))) > 1:
        raise UsageError(
            "--key, --verify and --download are commands of their own.",
            remedy="Write one of them.",
        )
    with open_session(stage_named(stage, dry=dry_run, verbose=verbose)) as opened:
        if key:
            backing_up.show_key(opened)
        elif download:
            local.download(opened, download, name)
        elif verify:
            backing_up.verify(opened)
        else:
            backing_up.backup(opened)


@task(help=dict(STAGE))
@reports_errors
def backups(context, stage="prod"):
    """List the backups: when, how large, of which kind, where, and when a drill read them."""
    with open_session(stage_named(stage)) as opened:
        backing_up.backups(opened)


@task(
    positional=[],
    help=STAGE
    | YES
    | WAIT
    | DRY
    | {
        "what": "latest, a name that inv backups lists, or a SQLite file on this machine.",
        "at": "A moment in UTC, such as '2026-11-20 14:05:30', where deploy.toml has a replica.",
    },
)
@reports_errors
def restore(
    context,
    what="",
    stage="prod",
    at="",
    yes=False,
    wait="0",
    dry_run=False,
    verbose=False,
):
    """Serve an earlier database, after saying what would be lost; the live one is kept."""
    seconds = number("--wait", wait)
    with open_session(
        stage_named(stage, yes=yes, dry=dry_run, verbose=verbose)
    ) as opened:
        restoring.restore(opened, what, at=at, wait=seconds)


@task(
    help=YES
    | WAIT
    | DRY
    | {
        "from": "Whose database and uploads are copied; that stage stays as it is.",
        "to": "Which stage gets them, in place of its own; never production.",
        "stage": "The same as --to.",
    }
)
@reports_errors
def clone(
    context,
    from_="",
    to="",
    stage="prod",
    yes=False,
    wait="0",
    dry_run=False,
    verbose=False,
):
    """Put one stage's database and uploads into another, after saying what is replaced."""
    seconds = number("--wait", wait)
    to = to or stage
    cloning.refuse(from_, to, SYSTEM)
    source = stage_named(from_, dry=dry_run, verbose=verbose)
    target = stage_named(to, yes=yes, dry=dry_run, verbose=verbose)
    with open_session(source, aside=True) as there, open_session(target) as here:
        cloning.clone(there, here, wait=seconds)


@task(name="push", help=STAGE | WAIT | DRY | {"folder": "The files' directory"})
@reports_errors
def media_push(context, folder, stage="prod", wait="0", dry_run=False, verbose=False):
    """Add the files of a directory here to the site's uploads; none is replaced."""
    seconds = number("--wait", wait)
    with open_session(stage_named(stage, dry=dry_run, verbose=verbose)) as opened:
        pushing.push(opened, folder, wait=seconds)


@task(help=dict(STAGE))
@reports_errors
def unlock(context, stage="prod"):
    """End a task that holds the stage's lock, after saying whose it is."""
    with open_session(stage_named(stage)) as opened:
        removal.unlock(opened)


@task(
    help=STAGE
    | DRY
    | {"name": "The installation's whole name, in place of being asked for it."}
)
@reports_errors
def remove(context, stage="prod", name="", dry_run=False, verbose=False):
    """Take a stage away from its server; a last copy of its database is kept there."""
    with open_session(stage_named(stage, dry=dry_run, verbose=verbose)) as opened:
        removal.remove(opened, name=name)


@task(help={"port": "Where to serve; 8000 unless given."})
@reports_errors
def dev(context, port="8000"):
    """Migrate this machine's database and serve the site on localhost."""
    where = str(number("--port", port, least=1))
    with suppress(KeyboardInterrupt):  # which is how one ends it
        run_here("-m", "stagetools.manage", "migrate", "--no-input")
        run_here("-m", "stagetools.manage", "runserver", where)


@task(help={"only": "Only tests whose name contains this word."})
@reports_errors
def test(context, only=""):  # noqa: PT028 - a task, not a test
    """Run the project's tests."""
    sys.exit(own_tests.run(ROOT, only))


@task(help={"tests": "Without them, all else is said sooner."})
@reports_errors
def check(context, tests=True):
    """Say what still keeps the working tree from being deployed, and how to fix it."""
    say = Terminal().say
    for left_out in read_tree(ROOT, uploads(ROOT / "deploy.toml")).left_out:
        say(f"· not uploaded: {left_out}")
    readiness.check(ROOT, say, tests=tests)


def run_here(*words: str) -> None:
    """Run this environment's Python in the project's folder; its exit status is ours."""
    status = subprocess.run([sys.executable, *words], cwd=ROOT, check=False).returncode
    if status:
        sys.exit(status)


ON_SERVER = [
    deploy,
    rollback,
    releases,
    restart,
    status,
    logs,
    manage,
    ssh,
    backup,
    backups,
    restore,
    clone,
    unlock,
    remove,
]
HERE = [dev, test, check]
namespace = Collection(*ON_SERVER, *HERE)
namespace.add_collection(Collection("env", env_list, env_get, env_set, env_unset))
namespace.add_collection(Collection("media", media_push))
take(program, namespace.task_names)
