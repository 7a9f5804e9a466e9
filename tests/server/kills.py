"""One kill under writes: what is killed, and what visitors noticed of it.

The tests of it are in test_switch.py, whose server they share.
"""

import itertools
import os
import random
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from tests.server.browser import Browser
from tests.server.changes import stored
from tests.server.disk import cut_power
from tests.server.load import Load
from tests.server.machines import Server, docker
from tests.server.project import Project

DOMAIN = "mysite.test"
RATES = {"write": 15.0, "form": 3.0, "kept": 10.0, "new": 3.0}
PATIENCE = 60.0  # seconds; a site that is not back by then will not be
BACK = 5.0  # seconds, at the most
ORDER = ("worker", "container", "engine", "power", "proxy")
AFTERWARDS = 2.0  # seconds of answers, for the load to see that it is back
CLOCK = (
    "read -r up rest </proc/uptime"  # the machine's clock, which time.monotonic() reads
)
ENGINE = "systemctl show --value --property ExecMainStartTimestampMonotonic docker"
INTEGRITY = """
import sqlite3
live = sqlite3.connect("/home/mysite_prod/data/mysite.sqlite3")
print(*live.execute("PRAGMA integrity_check").fetchone())
"""


@dataclass(frozen=True)
class Seen:
    """What was true after one kill."""

    kind: str
    synchronous: str  # SQLITE_SYNCHRONOUS
    acknowledged: int  # writes, until the site was back and a little longer
    lost: int  # of these
    oldest: float  # seconds from the oldest lost one to the kill
    integrity: str
    requests: int
    failed: int
    back: float  # seconds; see `back_after`
    load: float  # of the machine that all of it ran on, the last minute's


# --- what is killed ------------------------------------------------------------------------


SITE = "stagetools.system=mysite_prod"
PROXY = "com.docker.compose.project=stagetools-proxy"


def container(label: str) -> str:
    """The one with that label which is there all the time."""
    one_off = "--filter label=com.docker.compose.oneoff=False"
    return f"$(docker ps --quiet --filter label={label} {one_off})"


def main_process(label: str) -> str:
    """The first process of a container, as the server's kernel counts."""
    return f"$(docker inspect --format '{{{{.State.Pid}}}}' {container(label)})"


ENGINES = "$(systemctl show --value --property MainPID docker containerd)"


def processes(words: str) -> Callable[[Server], float]:
    """Kill -9, as the kernel does where memory ends; the moment of it."""

    def kill(server: Server) -> float:
        said = server.run(f'set -- {words}; {CLOCK}; kill -KILL "$@"; echo "$up"')
        return float(said)

    return kill


KINDS: dict[str, Callable[[Server], float]] = {
    "worker": processes(f"$(pgrep --newest --parent {main_process(SITE)})"),
    "container": processes(main_process(SITE)),
    "engine": processes(ENGINES),
    "power": cut_power,
    "proxy": processes(main_process(PROXY)),
}


# --- what came of it -----------------------------------------------------------------------


def kill(kind: str, server: Server, after: float, synchronous: str) -> Seen:
    """Kill it when there have been so many seconds of writes, and look."""
    with Load(server.address, DOMAIN, rates=RATES) as load:
        time.sleep(after)
        at = KINDS[kind](server)
        wait_until_back(server)
        time.sleep(AFTERWARDS)
    begin = float(server.run(ENGINE)) / 1e6 if kind == "power" else at
    there, report = stored(server), load.report
    lost = [when for key, _, when in report["acknowledged"] if key not in there]
    return Seen(
        kind,
        synchronous,
        acknowledged=len(report["acknowledged"]),
        lost=len(lost),
        oldest=max((at - when for when in lost), default=0.0),
        integrity=integrity(server),
        requests=report["requests"],
        failed=report["failed"],
        back=back_after(report, begin),
        load=os.getloadavg()[0],
    )


def wait_until_back(server: Server) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with suppress(OSError):
            if Browser(server.address, DOMAIN).get("/").status == 200:
                return
        time.sleep(0.2)


def integrity(server: Server) -> str:
    """What SQLite says of the live database, in the site's container."""
    words = ["exec", "--interactive", server.container, "sh", "-euc"]
    ask = f"docker exec --interactive {container(SITE)} python -I -"
    return docker(*words, ask, stdin=INTEGRITY)


def back_after(report: dict, begin: float) -> float:
    """Seconds from then until a visitor who came since was answered, and none failed any more.

    One who fails counts with the moment of coming, for whoever comes later is answered.
    """
    begin -= report["began"]
    answered = [at + took for _, at, took in report["answered"] if at > begin]
    failed = [at for _, at, _, _ in report["failures"]]
    return max(min(answered, default=begin + PATIENCE), *failed, begin) - begin


# --- many of them --------------------------------------------------------------------------


def of_each_kind(project: Project, server: Server, count: int) -> list[Seen]:
    """So many, in turns; those of the power come last.

    The groups of a server's containers stand beside its own on the machine that it runs on, and
    have 16 times its weight: those of other servers too, which would starve its engine.
    """
    docker("update", "--cpu-shares", "16384", server.container)
    kinds = list(itertools.islice(itertools.cycle(ORDER), count))
    kinds.sort(key=lambda kind: kind == "power")
    return [noted(server, kind, "FULL") for kind in kinds]


def forgetful(project: Project, server: Server, count: int, least: float) -> list[Seen]:
    """So many of the power, with the setting that a site may choose."""
    set_to(project, "env.set", "SQLITE_SYNCHRONOUS=NORMAL")
    rows = [noted(server, "power", "NORMAL", least) for _ in range(count)]
    set_to(project, "env.unset", "SQLITE_SYNCHRONOUS")
    return rows


def set_to(project: Project, *words: str) -> None:
    done = project.inv(*words)
    assert done.status == 0, str(done)


def noted(server: Server, kind: str, synchronous: str, least: float = 1.5) -> Seen:
    """One, after so many seconds of writes, or up to twice as many."""
    after = random.uniform(least, 2 * least)  # noqa: S311 - no secret
    seen = kill(kind, server, after, synchronous)
    sys.stdout.write(f"\n{seen}")
    sys.stdout.flush()
    return seen
