"""Looking at, and into, what is deployed."""

import secrets
import shlex
import sys
from datetime import UTC, datetime

from stagetools.deploy.commands import compose
from stagetools.deploy.commands import logs as journal
from stagetools.deploy.commands import server as server_commands
from stagetools.deploy.console.failures import ignore_interrupts, uninterrupted
from stagetools.deploy.console.lines import as_json, readable
from stagetools.deploy.facts import Container, Facts, Record
from stagetools.deploy.outcome import counted, size
from stagetools.deploy.shell import sh
from stagetools.deploy.steps import backup, release, replica, server
from stagetools.deploy.tasks.backups import backing_up
from stagetools.deploy.tasks.session import Session
from stagetools.errors import (
    ConnectionFailed,
    StageError,
    UsageError,
)

__all__ = ["logs", "manage", "releases", "ssh", "status"]


def status(session: Session) -> None:
    """Print the release, its health, its uptime and the server's disk; raise if it is not well."""
    facts = server.look(session)
    container = _serving(session, facts)
    said = _health(session, container)
    watch = backup.watch(session)
    sent = replica.watch(session, facts)
    rows = _rows(session, facts, container, said) | backing_up.rows(watch)
    if facts.elsewhere:
        rows["database"] = f"{facts.elsewhere}, the project's own; in no backup"
    elif words := replica.row(session, sent):
        rows["replica"] = words
    for name, value in rows.items():
        session.terminal.say(f"{name:<8} {value}")
    if said != "healthy":
        raise StageError(
            f"{session.name} is not healthy: {said}",
            remedy="Read `inv logs`.",
        )
    if watch.troubles():
        raise backing_up.not_well(session, watch)
    if not facts.elsewhere and (trouble := replica.trouble(session, sent)):
        raise trouble


def releases(session: Session) -> None:
    """Print the releases that are kept, the newest first; the arrow marks what serves."""
    facts = server.look(session)
    heads = ("", "release", "when (UTC)", "who", "commit", "size", "health", "what")
    rows = [_row(session, facts, entry) for entry in release.known(session)]
    session.terminal.table(heads, rows, _in_three_lines)


def _in_three_lines(
    mark: str, name: str, when: str, who: str, commit: str, image: str, health: str,
    what: str,
) -> str:  # fmt: skip
    """A release where the terminal is narrower than the table."""
    made_of = f"commit {commit}, {image}" if commit else image
    return f"{mark or ' '} {name}  {health}\n  {when} UTC by {who}\n  {what}; {made_of}"


def _row(session: Session, facts: Facts, entry: Record) -> tuple[str, ...]:
    what = f"{entry.why} of {entry.origin}" if entry.origin else entry.why
    if entry.migrations:
        what += f", {counted(len(entry.migrations), 'migration')}"
    mark, health = "", "stopped"
    if entry.release == facts.release:
        container = facts.serving(session.name)
        mark = "→"
        health = _health(session, container) if container else "not running"
    when = entry.at.removesuffix("+00:00").replace("T", " ")
    image = size(entry.size) if entry.size else "gone"
    return mark, entry.release, when, entry.who, entry.commit, image, health, what


def _rows(
    session: Session, facts: Facts, container: Container, said: str
) -> dict[str, str]:
    record = facts.record
    by = (
        f", {record.age(datetime.now(UTC))} by {record.who}, commit {record.commit or 'none'}"
        if record
        else ""
    )
    used = 100 - 100 * facts.disk_free // facts.disk_size
    return {
        "site": _site(facts.domains, session.config.domains),
        "release": f"{facts.release}{by}",
        "health": said,
        "uptime": f"{container.status}; server {session.run(server_commands.uptime()).strip()}",
        "disk": f"{used} % used, {size(facts.disk_free)} free of {size(facts.disk_size)}",
        "docker": facts.docker,
    }


def _site(served: tuple[str, ...], wanted: tuple[str, ...]) -> str:
    """The domains that are served; and deploy.toml's, where it has others."""
    differs = set(served) != set(wanted)
    more = f" (deploy.toml has {', '.join(wanted)}: inv deploy)" if differs else ""
    return (", ".join(served) or "none") + more


def _health(session: Session, container: Container) -> str:
    """`healthy`, or what the release answers instead."""
    return release.trouble(session, container) or "healthy"


def _serving(session: Session, facts: Facts) -> Container:
    container = facts.serving(session.name)
    if facts.moved:
        raise StageError(
            f"{session.name} has moved from {session.host.address} to {facts.moved}.",
            untouched="Whoever comes here is led on to there.",
            remedy="Give `host` in deploy.toml the new server again.",
        )
    if container is None:
        raise StageError(
            f"{session.name} does not run on {session.host.address}.",
            remedy=f"Deploy it: inv deploy --stage {session.config.stage_name}",
        )
    return container


def logs(
    session: Session,
    *,
    tail: int,
    follow: bool,
    since: str,
    grep: str,
    json: bool = False,
) -> None:
    """Print the installation's lines, of all its releases."""
    shown = as_json if json else readable

    def show(line: str) -> None:
        sys.stdout.write(f"{shown(line)}\n")
        sys.stdout.flush()

    command = journal.journal(
        session.layout, tail=tail, follow=follow, since=since, grep=grep
    )
    try:
        refused = session.host.interact(command, terminal=False, on_line=show)
    except KeyboardInterrupt:  # which is how one ends --follow
        ignore_interrupts()
        return
    if refused:
        raise UsageError(
            "The server's journal did not accept these options.",
            untouched="Nothing was changed.",
            remedy="--since takes a span or a time: 1h, 30min, '2026-01-31 08:00'.",
        )


def manage(session: Session, command: str) -> int:
    """Run a management command as the release that serves; its exit status.

    In a container of its own: a deploy that stops the release's does not end it.
    """
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    typed = _words(command)
    facts = server.look(session)
    serving = _serving(session, facts).release
    if facts.overlays != compose.OVERLAYS:  # those of an older version, or none
        session.run(compose.write_overlays(session.layout))
    name = f"{session.layout.system.container}-manage-{secrets.token_hex(4)}"
    words = compose.manage(session.layout, serving, name, typed, tty=terminal)
    try:
        return session.host.interact(words, terminal=terminal)
    except KeyboardInterrupt:
        with uninterrupted():
            session.run(compose.interrupt(name))
        raise KeyboardInterrupt(f"{typed[0]} was ended on the server.") from None
    except ConnectionFailed as error:
        error.untouched = f"{typed[0]} may go on, in the container {name}."
        error.remedy = "Whether it still runs: inv ssh, then docker ps"
        raise


def _words(command: str) -> list[str]:
    """The command as a shell would part it."""
    if not command.strip():
        raise UsageError(
            "No command was given.",
            untouched="Nothing was run.",
            remedy="Write it after inv manage: inv manage showmigrations",
        )
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if not words:
        raise UsageError(
            f"{command!r} is not a command: a quote in it is not closed.",
            untouched="Nothing was run.",
            remedy="""Quote it once more as a whole: inv manage "shell -c 'print(1)'".""",
        )
    return words


def ssh(session: Session) -> int:
    """A login shell on the server."""
    return session.host.interact(sh("bash", "--login"), terminal=True)
