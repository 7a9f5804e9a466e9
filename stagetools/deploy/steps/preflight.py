"""What stands in the way of a deploy, said before it begins."""

import errno
import re
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

from stagetools.deploy.commands import compose, server
from stagetools.deploy.config import StageConfig
from stagetools.deploy.facts import Facts
from stagetools.deploy.host.site import Site
from stagetools.deploy.limits import CONNECT, DISK
from stagetools.deploy.outcome import size
from stagetools.errors import StageError, UsageError

__all__ = [
    "ask_about_closed_ports",
    "refuse_full_disk",
    "refuse_other_services",
    "refuse_placeholders",
    "refuse_running_commands",
    "refuse_taken_domains",
    "refuse_too_small_a_disk",
    "refuse_wrong_dns",
]

_FIRST = 1500 * 10**6  # bytes: Docker, the base images, the first image and its cache
_NEXT = 300 * 10**6  # bytes: the layers that a change of dependencies makes


def refuse_placeholders(config: StageConfig) -> None:
    """No authority certifies example.com: say so before anything is done."""
    if config.tls == "acme" and not config.acme_ca and config.placeholder_domains:
        many = config.placeholder_domains
        what = "is a placeholder" if len(many) == 1 else "are placeholders"
        raise UsageError(
            f"{', '.join(many)} {what}: no authority issues a certificate for that.",
            remedy="Set domains in deploy.toml to your own, with DNS that points to the"
            ' server. To try without one: tls = "internal".',
        )


def refuse_other_services(root: Path) -> None:
    """A deploy starts `web` alone: say so before somebody waits for another one."""
    file = root / "compose.yaml"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    if others := [name for name in _services(text) if name != "web"]:
        raise UsageError(
            f"compose.yaml has {', '.join(others)}, and inv deploy starts web alone.",
            untouched="Nothing was changed.",
            remedy="What only your own machine needs belongs in compose.override.yaml,"
            " which stays there. What the server needs, such as Redis, belongs in a"
            " Compose project of its own on the server (inv ssh): a deploy leaves it"
            " alone. `profiles: [NAME]` marks a service that is not to be started.",
        )


def _services(text: str) -> list[str]:
    """The services that a compose file would start, as people write such files."""
    found = re.search(
        r"^services:[ \t]*(?:#.*)?\n((?:(?:[ \t#].*)?\n)*)", f"{text}\n", re.M
    )
    block = re.sub(r"^[ \t]*(?:#.*)?\n", "", found[1], flags=re.M) if found else ""
    indent = re.match(r"[ \t]*", block)
    parts = re.split(rf"^{indent[0] if indent else ''}(?=\S)", block, flags=re.M)
    return [
        name[1]
        for part in parts
        if (name := re.match(r"[\"']?([\w.-]+)[\"']?[ \t]*:", part))
        and not re.search(r"^[ \t]+profiles:", part, re.M)
    ]


def refuse_full_disk(facts: Facts) -> None:
    """A deploy needs room for an image, a copy of the database, and a snapshot of it."""
    needed = (_NEXT if facts.release else _FIRST) + 2 * facts.database
    if facts.disk_free < needed:
        raise StageError(
            f"The server's disk has {size(facts.disk_free)} free; this deploy may need"
            f" {size(needed)}.",
            untouched="Nothing was changed.",
            remedy="Make room first: `docker system df` and `journalctl --disk-usage` say"
            " what takes it.",
        )


def refuse_too_small_a_disk(site: Site, free: int, needed: int, what: str) -> None:
    """Where a copy would fill the disk on which the site serves meanwhile."""
    needed += DISK.reserve
    if free < needed:
        raise StageError(
            f"The disk of {site.host.address} has {size(free)} free; {what} may need"
            f" {size(needed)}.",
            untouched="Nothing was changed.",
            remedy="Make room there first.",
        )


def refuse_taken_domains(site: Site, facts: Facts) -> None:
    """A domain is one site's: say whose, before anything is built or migrated."""
    owners = dict(facts.claimed)
    for domain in site.config.domains:
        owner = owners.get(domain, site.name)
        if owner != site.name:
            raise StageError(
                f"{domain} belongs to {owner} on this server.",
                untouched="Nothing was changed.",
                remedy="Take it out of one of the two: domains in deploy.toml, here or of"
                f" {owner}, and deploy that one first.",
            )


def refuse_running_commands(site: Site) -> None:
    """What `inv manage` still writes to a database that is about to be replaced is lost."""
    if running := site.run(compose.managing(site.layout)).splitlines():
        raise StageError(
            f"A command of inv manage still works on the database: {', '.join(running)}.",
            untouched="Nothing was changed.",
            remedy="Wait until it is over, or end it: Ctrl-C where it was typed, or docker"
            " stop with its container on the server. Then do this again.",
        )


def refuse_wrong_dns(site: Site, facts: Facts) -> set[str]:
    """An authority asks DNS where a new domain is: see first whether that is here.

    Returns the addresses of this server to which the new domains point.
    """
    config = site.config
    if config.tls != "acme":
        return set()
    own = set(site.run(server.addresses()).split()) | _addresses(config.host)
    found: set[str] = set()
    for domain in set(config.domains) - set(facts.domains):
        there = set(site.run(server.resolve(domain)).split())
        if not there & own:
            where = (
                f"points to {', '.join(sorted(there))}, not to this server"
                if there
                else "is not in DNS"
            )
            raise StageError(
                f"{domain} {where}: no certificate can be issued for it.",
                untouched="Nothing was changed.",
                remedy=f"Give it an A (and AAAA) record to {config.host} and wait until it"
                ' is seen; or take it out of domains; or try with tls = "internal".',
            )
        found |= there & own
    return found


def ask_about_closed_ports(addresses: set[str], ask: Callable[[str], None]) -> None:
    """The authority and all visitors come in by ports 80 and 443: try both from here.

    `ask` raises unless the answer is yes: what is in the way may be on this side.
    """
    closed = [
        port for port in (80, 443) if addresses and not _any_open(addresses, port)
    ]
    if closed:
        ports = f"Port {closed[0]}" if len(closed) == 1 else "Ports 80 and 443"
        ask(
            f"{ports} of {', '.join(sorted(addresses))} cannot be reached from here: a firewall"
            " of the server or of its provider, perhaps. Then no visitor comes in, nor the"
            " authority that is to issue the certificate. Continue?"
        )


def _any_open(addresses: set[str], port: int) -> bool:
    with ThreadPoolExecutor() as pool:
        return any(list(pool.map(_lets_in, addresses, repeat(port))))


def _lets_in(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), CONNECT.web).close()
    except ConnectionRefusedError:
        return True  # nobody listens there yet, and no firewall is in the way
    except OSError as error:
        return error.errno == errno.ENETUNREACH  # no IPv6 here, say: nothing is known
    return True


def _addresses(name: str) -> set[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(name, None)}
    except OSError:
        return set()  # a Host of ~/.ssh/config: only ssh knows
