"""A living site comes to another server: what is copied while it serves, and what while it is held."""

from collections.abc import Mapping

from stagetools.deploy.commands.backup import move, repository, setup
from stagetools.deploy.facts import Container
from stagetools.deploy.host.host import OnLine
from stagetools.deploy.host.site import Site
from stagetools.deploy.limits import HOLD
from stagetools.deploy.outcome import Outcome, changed, counted
from stagetools.deploy.shell import Command
from stagetools.deploy.steps import release as releases
from stagetools.deploy.steps.backup import Contents, words
from stagetools.deploy.steps.clone import pass_on
from stagetools.errors import CommandFailed, StageError

__all__ = [
    "bring_certificates",
    "bring_database",
    "bring_secrets",
    "bring_uploads",
    "bring_vault",
    "forward",
    "hold",
    "leave",
]

_AGAIN = (
    "Fix that, then type inv deploy --restore again: it sends only what is missing."
)


def bring_secrets(old: Site, new: Site) -> Outcome:
    """The environment file, so that whoever is logged in stays so."""
    pass_on(
        old,
        move.send_environment(old.layout),
        new,
        move.take_environment(new.layout),
    )
    return changed("the same secrets, so that sessions live on")


def bring_certificates(old: Site, new: Site) -> None:
    """None can be issued for the new server before the domains lead there."""
    domains = new.config.domains
    pass_on(old, move.send_certificates(domains), new, move.take_certificates(domains))


def bring_vault(old: Site, new: Site, on_line: OnLine) -> Outcome:
    """The backups with their key: they go on where they were."""
    told = words(new)
    prepare = setup.install_in_place_of_lost(
        new.layout, keep=told["keep"], to=told["to"]
    )
    new.run(prepare, on_line=on_line)
    sends = repository.send_vault(old.layout)
    _pass_on(old, sends, new, repository.keep_vault(new.layout), "Backups")
    key = old.run(repository.key(old.layout)).encode()
    new.run(repository.take_key(new.layout), stdin=key)
    return changed("all of them came, and the key that opens them is the same")


def bring_database(old: Site, new: Site, release: str) -> Contents:
    """Leave the release a copy of the old server's database, with the same rows as were sent."""
    sends = repository.send_database(old.layout)
    takes = repository.arrive(new.layout, release)
    said = _pass_on(old, sends, new, takes, "Copy")
    found = Contents.parse(said.split("found=", 1)[1])
    sent = Contents.parse(old.run(repository.sent(old.layout)))
    if found.tables != sent.tables:
        raise StageError(
            "Copy: the database has other rows on the new server than were sent.",
            remedy=_AGAIN,
        )
    return found


def bring_uploads(old: Site, new: Site, *, held: bool = False) -> str:
    """Send those that are missing or others there, and remove what is gone here; in words."""
    here, there = _uploads(old), _uploads(new)
    wanted = [path for path, what in here.items() if there.get(path) != what]
    # first: what was a file may be a folder now
    if over := [path for path in there if path not in here]:
        new.run(repository.drop(new.layout), stdin=_listed(over))
    if wanted:
        old.run(repository.pick(old.layout), stdin=_listed(wanted))
        takes = repository.fill(new.layout)
        _pass_on(old, repository.send_picked(old.layout), new, takes, "Uploads")
    if held and _uploads(new) != here:
        raise StageError("Copy: some uploads did not arrive.", remedy=_AGAIN)
    return counted(len(wanted), "upload")


def _listed(paths: list[bytes]) -> bytes:
    return b"".join(path + b"\0" for path in paths)


class _Kept:
    """What a command prints, byte for byte."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes, /) -> int:
        self.data += data
        return len(data)


def _uploads(site: Site) -> Mapping[bytes, bytes]:
    """Size and time of each, by its path."""
    kept = _Kept()
    site.host.receive(repository.files(site.layout), kept)
    found = {}
    for line in bytes(kept.data).split(b"\0"):
        if line:
            length, at, path = line.split(b" ", 2)
            found[path] = length + b" " + at
    return found


def _pass_on(old: Site, sends: Command, new: Site, takes: Command, step: str) -> str:
    try:
        return pass_on(old, sends, new, takes)
    except CommandFailed as error:
        said = [line for line in error.output.splitlines() if line.strip()]
        raise StageError(
            f"{step}: {said[-1] if said else 'the server printed no reason.'}",
            remedy=_AGAIN,
        ) from error


# --- who serves --------------------------------------------------------------------------------


def forward(old: Site, new: Site, release: str, to: str) -> Outcome:
    """Prepare what leads visitors on, and see that it reaches the new server."""
    config = new.config
    roots = new.run(move.roots()) + (config.acme_root if config.acme_ca_root else "")
    command = move.forward(
        old.layout, release, to=to, tls=config.tls != "off", domain=config.domains[0]
    )
    try:
        old.run(command, stdin=roots.encode())
    except CommandFailed as error:
        raise StageError(
            f"Forward: {old.host.address} cannot lead visitors on to {to}.",
            remedy="Let the new server's firewall admit ports 80 and 443, read the last lines"
            " below, then type inv deploy --restore again.",
        ) from error
    return changed(f"{old.host.address} reaches {to}, and will lead visitors on")


def hold(old: Site, serving: Container, *, at_most: int) -> str:
    """Let the visitors of the old server wait, and freeze what serves them; what was cut off."""
    return releases.hold(old, serving, drain=HOLD.drain, at_most=at_most)


def leave(old: Site, serving: Container, to: str) -> None:
    """Serve nobody there any more."""
    command = move.leave(old.layout, serving.release, serving.id, to=to)
    try:
        old.run(command)
    except CommandFailed as error:
        if error.status != move.LATE:
            raise
        raise StageError(
            "Switch: the visitors had waited too long, so the old server goes on serving.",
            remedy="Try again at a quieter time.",
        ) from None
