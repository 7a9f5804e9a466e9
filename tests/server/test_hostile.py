"""A hostile site beside another one: whatever it does, the other serves and is not touched.

Its code runs as its own user in its own containers, and no process there can become root's
(asserted). It plants links, fifos and names in every directory that it may write, serves
instead of its own release, and takes more than its share of everything; meanwhile both sites
are deployed, rolled back, restored and restarted under load, and in the end it is removed.
HOSTILE_SECONDS is how long (60 unless set; a release is tried with 600).

A disk that two sites share is not divided between them: the hostile one fills a volume of
its own here.
"""

import json
import os
import random
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from tests.server import attacker
from tests.server.browser import Browser
from tests.server.changes import (
    Changes,
    assert_rows_are_there,
    serving,
    stored,
    take_load,
    told,
    too_slow,
)
from tests.server.load import REPOSITORY, Load
from tests.server.machines import Server, docker
from tests.server.project import Done, Project

SECONDS = float(os.environ.get("HOSTILE_SECONDS", "60"))
HOSTILE, SECOND = "hostile.test", "second.test"
RATES = {"new": 10, "kept": 14, "write": 5, "http2": 10, "form": 1, "asset": 4}
RATES |= {"slow": 0.3, "upload": 0.2, "http2-write": 1}
CROWDS = ("slow", "slow_head", "huge", "curious")
KEYS = "/var/lib/docker/volumes/stagetools-proxy_data/_data/caddy"
MEDIA = "48m"  # the hostile site's volume for uploads
MEMORY = "256 MB"
LOG_LINES = 200
KINDS = [*(kind for kind in attacker.ATTACKS if kind != "stop"), *attacker.ANSWERS]
ALL = 240  # seconds in which each kind must have had its turn

READY = """
    def ready(self):
        import contextlib, os

        from . import attacker

        if os.environ.get("STAGETOOLS_RELEASE"):
            with contextlib.suppress(Exception):
                attacker.at_start("second_prod")
"""


@dataclass
class Two:
    """The server with both sites, and what nobody but the second one may know."""

    server: Server
    hostile: Project
    second: Project
    tokens: dict[str, str] = field(default_factory=dict)

    def found_in(self, text: str, *, public: bool = True) -> list[str]:
        """Which secrets are in a text."""
        kinds = [k for k in self.tokens if public or k != "page"]
        return [kind for kind in kinds if self.tokens[kind] in text]


@pytest.fixture(scope="module")
def two(new_server, new_project) -> Two:
    server = new_server("hostile", with_docker=True)
    hostile = new_project(project_slug="hostile")
    second = new_project(project_slug="second")
    hostile.target(server, domain=HOSTILE, memory=MEMORY, drain=20)
    second.target(server, domain=SECOND, drain=60)
    for project in (hostile, second):
        take_load(project)
    arm(hostile)
    two = Two(server, hostile, second)
    two.tokens["page"] = secrets.token_hex(12)
    base = "second/templates/base.html"
    second.write(base, second.read(base) + f"\n<!-- {two.tokens['page']} -->\n")
    second.deploy()
    hostile.deploy()
    leave_canaries(two)
    bound_the_disk(server)
    assert hostile.inv("restart").status == 0
    return two


def arm(project: Project) -> None:
    """Let the attacker into the hostile project's own code."""
    shutil.copy(attacker.__file__, project.root / "hostile" / "attacker.py")
    apps = "hostile/apps.py"
    project.write(apps, project.read(apps).rstrip() + "\n" + READY)


def leave_canaries(two: Two) -> None:
    """A secret in each place that is the second site's, the proxy's or root's alone."""
    server, tokens = two.server, two.tokens
    for kind in ("environment", "row", "media", "root"):
        tokens[kind] = secrets.token_hex(12)
    word = f"CANARY={tokens['environment']}"
    assert two.second.inv("env.set", word).status == 0
    answer = Browser(server.address, SECOND).request(
        "POST", f"/load/write?key={tokens['row']}"
    )
    assert answer.status == 201
    home = "/home/second_prod"
    server.run(
        f"umask 077; printf %s {tokens['root']} >/root/canary;"
        f" printf %s {tokens['media']} >{home}/media/canary.txt;"
        f" chown second_prod:second_prod {home}/media/canary.txt"
    )
    tokens["key"] = server.run(f"sed -n 2p $(find {KEYS} -name {SECOND}.key)")
    tokens["authority"] = server.run(f"sed -n 2p {KEYS}/pki/authorities/local/root.key")


def bound_the_disk(server: Server) -> None:
    """A volume of its own for the hostile site's uploads."""
    owner = "uid=$(id -u hostile_prod),gid=$(id -g hostile_prod)"
    server.run(
        f"mount -t tmpfs -o size={MEDIA},mode=0750,{owner} media /home/hostile_prod/media"
    )


def possessions(server: Server) -> dict[str, str]:
    """What no attack may change: the second site's, the proxy's and root's files."""
    looks = {
        "media": "find /home/second_prod/media -exec stat -c '%n %U:%G %a' {} +",
        "media bytes": "sha256sum /home/second_prod/media/canary.txt",
        "canary": "grep ^CANARY= /home/second_prod/env; stat -c '%U %a' /home/second_prod/env",
        "keys": f"find {KEYS} -type f -not -name '*.lock' -not -path '*/locks/*' -not -path '*hostile*' -exec sha256sum {{}} + | sort",
        "proxy": "cd /srv/stagetools/proxy; find . -type f -exec sha256sum {} + | sort; ls -lnR --time-style=+",
        "site": "cd /srv/stagetools/web; readlink hosts/second.test; stat -c '%n %U:%G %a' sites/second_prod sites/second_prod/run sites/second_prod/site; cat sites/second_prod/site sites/second_prod/max_body* 2>/dev/null || true",
        "root": "find /root -type f -not -path '*/.docker/*' -not -path '*/.cache/*' -exec sha256sum {} + | sort",
        "etc": "find /etc -xdev -type f -not -name 'passwd*' -not -name 'group*' -not -name '*shadow*' -not -name 'sub[ug]id*' -not -name '.pwd.lock' -not -name 'stagetools-*-hostile_prod.*' -exec sha256sum {} + | sort",
        "accounts": "grep -v hostile_prod /etc/passwd; grep -v hostile_prod /etc/shadow",
        "home": "cd /home/second_prod; stat -c '%n %U:%G %a' . env media backups releases static-archive",
        "units": "ls -R /etc/systemd/system | grep -v hostile_prod",
        "vault": "cd /home/second_prod; stat -c '%n %U:%G %a' vault vault/key; sha256sum vault/key",
    }
    return {what: server.run(command) for what, command in looks.items()}


def container_of(server: Server, name: str) -> str:
    """The web containers that run, the one that serves first."""
    filters = f"--filter label=stagetools.system={name} --filter status=running"
    release = f"--filter label=stagetools.release={serving(server, name)}"
    ids = server.run(f"docker ps -q {filters} {release}; docker ps -q {filters}")
    return ids.split()[0]


class Attacks:
    """One attack after another, each from within, and what was to be read through it."""

    def __init__(self, two: Two, stop: threading.Event) -> None:
        self.two, self.server, self.stop = two, two.server, stop
        self.said: list[tuple[str, str]] = []
        self.made: Counter[str] = Counter()
        self.proxy_peak = 0

    def run(self) -> None:
        """Each kind in its turn, in another order each time, until the end."""
        order = random.Random(9)  # noqa: S311
        while not self.stop.is_set():
            for kind in order.sample(KINDS, len(KINDS)):
                if self.stop.is_set():
                    break
                self.attack(kind)

    def attack(self, kind: str) -> None:
        """From outside come those whom the attack is made for."""
        crowds = [self.crowd("curious")]
        if kind in ("plant", "look", "logs"):
            crowds += [self.crowd("slow"), self.crowd("slow_head"), self.crowd("huge")]
        with suppress(RuntimeError, IndexError):
            self.said.append((kind, self.inside(kind)))
            self.made[kind] += 1
        for crowd in crowds:
            self.said.append((f"visitors while {kind}", answers(crowd)))
        self.proxy_peak = max(self.proxy_peak, memory_of_proxy(self.server))

    def inside(self, kind: str, *, limit: float = 40) -> str:
        """Run one attack in the container that serves; its output."""
        container = container_of(self.server, "hostile_prod")
        release = f"NEIGHBOURS_RELEASE={serving(self.server, 'second_prod')}"
        words = ["docker", "exec", "--interactive", self.server.container, "docker"]
        words += ["exec", "--interactive", "--env", release, container]
        words += ["timeout", str(limit), "python", "-", kind, "second_prod"]
        source = (REPOSITORY / "tests/server/attacker.py").read_bytes()
        done = subprocess.run(words, input=source, capture_output=True, check=False)
        return (done.stdout + done.stderr).decode("latin-1")

    def crowd(self, what: str) -> subprocess.Popen[str]:
        seconds = str(2 * attacker.LONG)
        words = [sys.executable, "-m", "tests.server.crowd", what, self.server.address]
        return subprocess.Popen(
            [*words, HOSTILE, seconds],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )


def answers(crowd: subprocess.Popen[str]) -> str:
    """What a crowd was answered, or nothing when it does not end."""
    try:
        said, _ = crowd.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        crowd.kill()
        crowd.communicate()
        return ""
    return str(json.loads(said)["all"]) if said else ""


def memory_of_proxy(server: Server) -> int:
    """Bytes that the proxy holds now."""
    label = "label=com.docker.compose.project=stagetools-proxy"
    script = (
        f"for c in $(docker ps -q --no-trunc --filter {label}); do"
        " pid=$(docker inspect --format '{{.State.Pid}}' $c);"
        " awk '/VmRSS/ {print $2}' /proc/$pid/status; done"
    )
    return max((int(kb) * 1024 for kb in server.run(script).split()), default=0)


def change_on(changes: Changes, stop: threading.Event, done: list[Done]) -> None:
    """One change after another until the end, whatever comes of them."""
    for change in changes:
        if stop.is_set():
            return
        try:
            done.append(changes.timed(change))
        except Exception as error:
            done.append(Done(-1, f"{change.__name__}: {type(error).__name__}: {error}"))


def assert_no_process_can_become_root(two) -> None:
    container = container_of(two.server, "hostile_prod")
    status = two.server.run(f"docker exec {container} cat /proc/1/status")
    words = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    uid = two.server.run("id -u hostile_prod")
    assert words["Uid"].split() == [uid] * 4
    for kind in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(words[kind], 16) == 0
    assert words["NoNewPrivs"] == "1"
    assert words["Seccomp"] == "2" or not seccomp(two.server)


def seccomp(server: Server) -> bool:
    return "seccomp" in server.run("docker info --format '{{.SecurityOptions}}'")


def test_a_hostile_site_neither_stops_nor_reads_nor_changes_another(two) -> None:
    assert_no_process_can_become_root(two)  # what the attacker is not, he cannot act as
    server, stop = two.server, threading.Event()
    attacks = Attacks(two, stop)
    theirs, ours = Changes(two.hostile, server), Changes(two.second, server)
    done_to: dict[str, list[Done]] = {"hostile": [], "second": []}
    before = possessions(server)
    workers: list[tuple[Callable[..., None], tuple[object, ...]]] = [
        (attacks.run, ()),
        (change_on, (theirs, stop, done_to["hostile"])),
        (change_on, (ours, stop, done_to["second"])),
    ]
    with Load(server.address, SECOND, rates=RATES) as load:
        threads = [threading.Thread(target=work, args=args) for work, args in workers]
        for thread in threads:
            thread.start()
        try:
            time.sleep(SECONDS)
            wait_for_all(attacks)
            asked = log_something(two)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        attacks.inside("stop")
        last = two.hostile.inv("deploy", "--yes")
        traces = what_it_holds(two)
        attacks.inside("database", limit=2)  # and leaves the link behind
        server.run("umount --lazy /home/hostile_prod/media")
        removed = two.hostile.inv("remove", "--name", "hostile_prod")
        again = ours.timed(ours.deploy)
    report(two, load, attacks, done_to)
    assert not load.report["failed"], "\n".join(told(load.report, ours.spans))
    assert_rows_are_there(load.report, stored(server, "second_prod"), ours)
    all_done = [*done_to["second"], again]
    slow = [done for done in all_done if too_slow(done)]
    assert len(slow) <= len(all_done) // 4, slow
    failed = [done for done in all_done if done.status and done not in slow]
    assert not failed, failed
    assert_what_it_says_of_the_hostile_one([*done_to["hostile"], last, removed])
    assert last.status == 0, str(last)
    assert removed.status == 0, str(removed)
    leaks = {kind: two.found_in(text) for kind, text in attacks.said}
    assert not {kind: found for kind, found in leaks.items() if found}
    signs = ["more rights than it had", "of the server is open", '"apps":{']
    signs += [f"X-Release: {release}" for release in load.report["releases"]]
    seen = [
        (kind, sign) for kind, text in attacks.said for sign in signs if sign in text
    ]
    assert not seen, "the hostile site's visitors or processes were led elsewhere"
    assert not two.found_in(traces, public=False), traces
    assert not two.found_in(kept(server), public=False)
    assert possessions(server) == before
    assert "hostile_prod" not in server.run("ls -R /etc/systemd/system")
    assert asked <= logged(server), "the flood hid lines of the second site"
    assert attacks.proxy_peak < 400 * 2**20


def wait_for_all(attacks: Attacks) -> None:
    """However slow the machine: an attack that was not made proves nothing."""
    end = time.monotonic() + ALL
    while set(attacks.made) < set(KINDS) and time.monotonic() < end:
        time.sleep(1)
    assert set(attacks.made) == set(KINDS), set(KINDS) - set(attacks.made)


def assert_what_it_says_of_the_hostile_one(done: list[Done]) -> None:
    """Its own changes may fail by what it did; each says so in words."""
    for one in done:
        nothing_to_restore = one.status == 2 and "No deploy since" in one.text
        assert one.status in (0, 1) or nothing_to_restore, str(one)
        assert "Traceback" not in one.text.partition("last lines below")[0], str(one)


def log_something(two: Two) -> int:
    """Requests of the second site while a flood of lines comes from the first."""
    browser = Browser(two.server.address, SECOND)
    flood = threading.Thread(target=flood_logs, args=(two,))
    flood.start()
    for number in range(LOG_LINES):
        assert browser.get(f"/logged-{number}").status == 404
    flood.join()
    return LOG_LINES


def flood_logs(two: Two) -> None:
    """Once there is a container to do it in: between two releases there may be none."""
    attacks, end = Attacks(two, threading.Event()), time.monotonic() + ALL
    while True:
        try:
            attacks.inside("logs")
        except (RuntimeError, IndexError):
            if time.monotonic() > end:
                raise
            time.sleep(0.5)
        else:
            return


def logged(server: Server) -> int:
    """How many of those the journal has."""
    command = "journalctl CONTAINER_TAG=second_prod --output cat | grep -o 'GET /logged-[0-9]*' | sort -u | wc -l"
    return int(server.run(command))


def what_it_holds(two: Two) -> str:
    """The secrets that are in any file that the hostile site could read, by their lines."""
    patterns = "\n".join(v for k, v in two.tokens.items() if k != "page")
    # links are not followed, and a terabyte of nothing is not read
    folders = "/home/hostile_prod /srv/stagetools/web/sites/hostile_prod"
    outside = f"find {folders} -type f -size -1G -print0 | xargs -0r grep -ahoF -f /dev/fd/3 3<&0 || true"
    words = ["exec", "--interactive", two.server.container]
    return docker(*words, "sh", "-c", outside, stdin=patterns)


def kept(server: Server) -> str:
    """The last copies of what was removed, in full."""
    return server.run(
        "cat /srv/stagetools/kept/* 2>/dev/null | tr -cd '[:print:]' || true"
    )


def report(two: Two, load: Load, attacks: Attacks, done: dict[str, list[Done]]) -> None:
    """The figures, and how each side fared."""
    silent = ("written", "acknowledged", "releases", "seen", "began", "failures")
    figures = {k: v for k, v in load.report.items() if k not in silent}
    figures["attacks"] = dict(attacks.made)
    figures["proxy"] = f"{attacks.proxy_peak / 2**20:.0f} MiB"
    for name, changes in done.items():
        figures[name] = dict(Counter(one.status for one in changes))
    sys.stdout.write(json.dumps(figures, indent=1))
    for one in done["hostile"]:
        if one.status:
            sys.stdout.write(f"\nhostile: {one}")
