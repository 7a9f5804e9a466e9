"""Everything that one types from day to day: `inv --list`, and `inv --help TASK` for one."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from invoke import task

from aaa_env_setup import SYSTEM
from stagetools.deploy import pipeline, running
from stagetools.deploy.config import load, remember
from stagetools.deploy.stage import open_stage
from stagetools.deploy.terminal import Terminal, told
from stagetools.utils import get_expected_system_from_name

ROOT = Path(__file__).parent
STAGE = {"stage": "Which stage of deploy.toml; prod unless given."}
YES = {"yes": "Answer every question with yes."}
WAIT = {"wait": "How many seconds to wait for somebody else's task to end."}
ACCEPT = {
    "accept_host_key": "The fingerprint (SHA256:…) that an unknown server must have."
}


def stage_named(name: str, *, yes: bool = False) -> dict[str, Any]:
    """What every task on a server begins with: the stage's system and its settings."""
    config = load(ROOT / "deploy.toml", name)
    system = get_expected_system_from_name(
        f"{SYSTEM.configuration}_{name}",
        core_repo=SYSTEM.core_repo,
        core_app=SYSTEM.core_app,
    )
    config = remember(ROOT / "deploy.toml", config, ask=Terminal().ask)
    return {"system": system, "config": config, "terminal": Terminal(yes=yes)}


@task(help=STAGE | ACCEPT | YES | WAIT)
@told
def deploy(context, stage="prod", accept_host_key="", yes=False, wait=0):
    """Put the working tree before the users: upload, build, migrate, switch."""
    named = stage_named(stage, yes=yes)
    pipeline.deploy(ROOT, **named, accept=accept_host_key, wait=wait)


@task(help=STAGE | ACCEPT)
@told
def status(context, stage="prod", accept_host_key=""):
    """Say which release serves, since when, how healthy it is, and how full the disk is."""
    with open_stage(**stage_named(stage), accept=accept_host_key) as opened:
        running.status(opened)


@task(
    help=STAGE
    | {
        "tail": "How many lines; 100 unless given.",
        "follow": "Go on showing lines as they come, until Ctrl-C.",
        "since": "From when on: 1h, 30min, '2026-01-31 08:00'.",
        "grep": "Only lines that hold this word.",
    }
)
@told
def logs(context, stage="prod", tail=100, follow=False, since="", grep=""):
    """Show what the site has written: its requests, its warnings, its errors."""
    with open_stage(**stage_named(stage)) as opened:
        running.logs(opened, tail=tail, follow=follow, since=since, grep=grep)


@task(
    positional=["command"],
    help=STAGE | {"command": "'createsuperuser --email you@example.com'"},
)
@told
def manage(context, command, stage="prod"):
    """Run a command of manage.py in the release that serves."""
    with open_stage(**stage_named(stage)) as opened:
        sys.exit(running.manage(opened, command))


@task(help=STAGE)
@told
def ssh(context, stage="prod"):
    """Open a shell on the server."""
    with open_stage(**stage_named(stage)) as opened:
        sys.exit(running.ssh(opened))


@task(help={"port": "Where to serve; 8000 unless given."})
@told
def dev(context, port=8000):
    """Migrate this machine's database and serve the site on localhost."""
    local("-m", "stagetools.manage", "migrate", "--no-input")
    local("-m", "stagetools.manage", "runserver", str(port))


@task(help={"only": "Only tests whose name holds this word."})
@told
def test(context, only=""):  # noqa: PT028 - a task, not a test
    """Run the project's tests."""
    local("-m", "pytest", *(["-k", only] if only else []))


def local(*words: str) -> None:
    """Run this environment's Python in the project's folder; its exit status is ours."""
    status = subprocess.run([sys.executable, *words], cwd=ROOT, check=False).returncode
    if status:
        sys.exit(status)
