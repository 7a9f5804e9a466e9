"""The replica's own script: which database is followed, what waits for what, which moment is taken."""

import subprocess

import pytest

from stagetools.deploy.commands import compose, data
from stagetools.deploy.commands.backup import replica
from tests.commands.machine import PLACES, Machine

RELEASE, NEXT = "20260131-070000-0000000", "20260131-080000-1111111"
URL = "s3://bucket/shop"
LTX = """level  min_txid          max_txid          size   created
0      0000000000000001  0000000000000001  4935   2026-11-26T09:41:09Z
0      0000000000000002  0000000000000002  5026   2026-11-26T09:41:20Z
1      0000000000000001  0000000000000002  5448   2026-11-26T09:41:20Z
9      0000000000000001  0000000000000001  4935   2026-11-26T09:41:09Z
"""
PLAN = """{
  "files": [
    {"name": "a",
      "timestamp": "2026-11-26T09:41:09Z"},
    {"name": "b",
      "timestamp": "2026-11-26T09:41:10.911249526Z"}
  ]
}
"""
DOCKER = """
case "$*" in
  "ps --all"*) cat "$here/state" 2>/dev/null || true ;;
  *" up "*) echo "data=$STAGETOOLS_DATA meta=$STAGETOOLS_META url=$STAGETOOLS_URL" >>"$said"; echo running >"$here/state" ;;
  *" run "*" ltx "*) cat "$here/ltx" ;;
  *"-dry-run"*"-timestamp none"*) echo "Error: no backups found" >&2; exit 1 ;;
  *"-dry-run"*"-timestamp broken"*) echo "ssh: handshake failed" >&2; exit 1 ;;
  *"-dry-run"*"-timestamp "*"T09:41:15Z"*) cat "$here/plan" ;;
  *"-dry-run"*"-timestamp "*) echo "Error: timestamp does not exist" >&2; exit 1 ;;
  *"-dry-run"*) cat "$here/plan" ;;
  *" litestream restore "*) test ! -e "$here/full" || { echo "no space left on device" >&2; exit 1; } ;;
  "rm --force"*) rm -f "$here/state" ;;
  "pause "*-replica) echo paused >"$here/state" ;;
  "unpause "*-replica) echo running >"$here/state" ;;
esac
"""


@pytest.fixture
def site(machine, layout) -> Machine:
    """A server on which a release serves, with a database and a replica's files."""
    machine.program("docker", f"here={machine.root}\n{DOCKER}")
    machine.program("id", "echo 998")
    machine.program("install", 'for last; do :; done; mkdir -p "$last"')
    machine.at(layout.current).symlink_to(f"run/{RELEASE}.sock")
    machine.at(layout.env_file).write_text('SECRET_KEY="k"\n')
    serve(machine, layout, RELEASE, machine.at(layout.data_dir))
    own = machine.at(replica.own_dir(layout))
    own.mkdir(parents=True)
    text = replica._script(layout, URL, "")
    (own / "ready").touch()
    (own / "replica.sh").write_text(
        PLACES.sub(lambda at: f"{machine.root}{at[0]}", text)
    )
    return machine


def serve(machine: Machine, layout, release: str, directory) -> None:
    """Let a release serve on the database in that directory."""
    directory.mkdir(exist_ok=True)
    (directory / layout.database_name).write_bytes(b"SQLite")
    machine.at(layout.compose_env(release)).write_text(f"STAGETOOLS_DATA={directory}\n")
    link = machine.at(layout.current)
    link.unlink()
    link.symlink_to(f"run/{release}.sock")


def asked(machine: Machine, layout, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(machine.at(replica.script_path(layout))), *words],
        env=machine.environment, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip


def follow(machine: Machine, layout) -> list[str]:
    """What Docker was asked for, but for looks."""
    before = len(machine.said)
    done = asked(machine, layout, "follow")
    assert done.returncode == 0, done.stderr
    said = machine.said[before:]
    return [line for line in said if line.startswith(("docker rm", "data="))]


def test_the_live_database_is_followed_and_that_once(site, layout) -> None:
    live = site.at(layout.data_dir)
    meta = site.at(layout.home) / "replica/data"
    assert follow(site, layout)[-1] == f"data={live} meta={meta} url={URL}"
    assert follow(site, layout) == []


def test_before_its_place_was_reached_nothing_asks_there_again_and_again(
    site, layout
) -> None:
    """A failed deploy prunes, which lets a replica follow: this one is refused, and would be locked out."""
    (site.at(replica.own_dir(layout)) / "ready").unlink()
    assert follow(site, layout) == []


def test_another_database_is_followed_once_the_old_one_is_let_go(site, layout) -> None:
    follow(site, layout)
    other = site.at(layout.data_copy(NEXT))
    serve(site, layout, NEXT, other)
    let_go, started = follow(site, layout)
    assert let_go == "docker rm --force shop-prod-replica"
    assert started.startswith(f"data={other} ")
    remembered = site.at(layout.home) / "replica"
    assert [path.name for path in remembered.iterdir()] == [other.name]


def test_other_credentials_are_taken_up(site, layout) -> None:
    follow(site, layout)
    site.at(layout.env_file).write_text('AWS_ACCESS_KEY_ID="new"\n')
    [started] = follow(site, layout)
    assert started.startswith("data=")


def test_a_container_that_is_gone_comes_back_but_not_while_files_are_copied(
    site, layout
) -> None:
    follow(site, layout)
    (site.root / "state").unlink()
    site.at(layout.hold_file).write_text("c1 R1\n")
    assert follow(site, layout) == []
    site.at(layout.hold_file).unlink()
    assert len(follow(site, layout)) == 1


def test_without_a_database_there_is_nothing_to_follow(site, layout) -> None:
    (site.at(layout.data_dir) / layout.database_name).unlink()
    assert follow(site, layout) == ["docker rm --force shop-prod-replica"]


def test_a_link_of_the_sites_making_is_not_followed(site, layout) -> None:
    file = site.at(layout.data_dir) / layout.database_name
    file.unlink()
    file.symlink_to("/etc/shadow")
    assert not [line for line in follow(site, layout) if line.startswith("data=")]


def test_whoever_freezes_the_site_stops_its_replica_from_writing(site, layout) -> None:
    site.at(layout.hold_file).write_text("c1 R1\n")
    site.run(compose.freeze(layout, "c1"))
    assert site.said[-1].startswith("docker ps")  # there is none yet
    site.at(layout.hold_file).unlink()
    follow(site, layout)
    site.at(layout.hold_file).write_text("c1 R1\n")
    site.run(compose.freeze(layout, "c1"))
    assert site.said[-1] == "docker pause shop-prod-replica"
    assert follow(site, layout) == []
    assert "docker unpause shop-prod-replica" not in site.said


def test_whoever_freezes_it_too_late_pauses_nothing(site, layout) -> None:
    follow(site, layout)
    site.run(compose.freeze(layout, "c1"))
    assert "docker pause shop-prod-replica" not in site.said


def test_a_replica_that_was_left_paused_goes_on(site, layout) -> None:
    follow(site, layout)
    (site.root / "state").write_text("paused\n")
    assert follow(site, layout) == []
    assert "docker unpause shop-prod-replica" in site.said
    assert (site.root / "state").read_text() == "running\n"


def test_a_database_is_let_go_before_its_files_are_kept(site, layout) -> None:
    follow(site, layout)
    other = site.at(layout.data_copy(NEXT))
    serve(site, layout, NEXT, other)
    site.program(
        "mv",
        'echo "state $(cat "$here/state" 2>&1)" >>"$said"; exec /bin/mv "$@"'.replace(
            "$here", str(site.root)
        ),
    )
    site.run(data.retire(layout, live=layout.data_copy(NEXT)))
    kept = [line for line in site.said if line.startswith("mv -T -- ")]
    assert kept
    started = [
        n for n, line in enumerate(site.said) if line.startswith(f"data={other}")
    ]
    assert started
    assert started[0] < site.said.index(kept[0])


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("2026-11-26T09:41:15Z", "-timestamp 2026-11-26T09:41:15Z"),
        # Litestream refuses a moment after the last change, though nothing is missing
        ("2026-11-26T10:00:00Z", ""),
    ],
)
def test_a_moment_is_taken_as_it_was(site, layout, at: str, words: str) -> None:
    (site.root / "ltx").write_text(LTX)
    (site.root / "plan").write_text(PLAN)
    done = asked(site, layout, "restore", at, "/to")
    assert (done.returncode, done.stdout) == (0, "copied=2026-11-26T09:41:10Z\n"), (
        done.stderr
    )
    ran = site.said[-1]
    assert "--volume /to:/copy litestream restore" in ran
    assert f"litestream.yaml {words}".strip() in ran
    assert "-dry-run" not in ran
    assert ("-timestamp" in ran) == bool(words)


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("2026-11-26T09:41:09Z", "the replica begins at 2026-11-26 09:41:09 UTC."),
        ("none", f"nothing has been sent to {URL} yet."),
        ("broken", "ssh: handshake failed"),
    ],
)
def test_a_moment_that_is_not_there_is_refused(
    site, layout, at: str, said: str
) -> None:
    (site.root / "ltx").write_text(LTX)
    (site.root / "plan").write_text(PLAN)
    done = asked(site, layout, "restore", at, "/to")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].strip() == said
    assert "-dry-run" in [line for line in site.said if " restore " in line][-1]


def test_a_restore_that_fails_after_all_says_why(site, layout) -> None:
    for name, text in {"ltx": LTX, "plan": PLAN, "full": ""}.items():
        (site.root / name).write_text(text)
    done = asked(site, layout, "restore", "2026-11-26T09:41:15Z", "/to")
    assert done.returncode == 1
    assert "copied=" not in done.stdout
    assert done.stderr.splitlines()[-1].strip() == "no space left on device"


def test_its_server_is_met_as_the_account_and_not_listened_to_without_end(
    site, layout
) -> None:
    """What a hostile one can do to an ssh that talks to it, it does to nobody but the account."""
    for name in ("chown", "systemctl"):
        site.program(name, "exit 0")
    site.program("ssh-keygen", 'for last; do :; done; touch "$last" "$last.pub"')
    site.program("timeout", 'shift; exec "$@"')
    site.program(
        "ssh",
        'echo "[host]:22 ssh-ed25519 AAAA" >met/known; head -c 300000 /dev/zero | tr "\\0" x >&2',
    )
    site.at("/etc/systemd/system").mkdir(parents=True)
    (site.root / "ltx").write_text(LTX)
    url = "sftp://keeper@host/folder"
    command = replica.install(layout, url, host="keeper@host", port=22)
    site.attempt(command)
    own = site.at(replica.own_dir(layout))
    assert (own / "host_key").read_text() == "ssh-ed25519 AAAA\n"
    met = [line for line in site.said if line.startswith("setpriv") and " ssh " in line]
    assert met
    assert "--reuid shop_prod" in met[0]
    assert "-i ssh_key" in met[0]


@pytest.mark.parametrize("url", [URL, "s3://other/shop"])
def test_a_place_that_is_away_ends_no_replica_that_goes_there(
    site, layout, url: str
) -> None:
    """Only one that goes elsewhere, which nobody wants any more."""
    for name in ("chown", "systemctl"):
        site.program(name, "exit 0")
    site.program("ssh-keygen", 'for last; do :; done; touch "$last" "$last.pub"')
    site.at("/etc/systemd/system").mkdir(parents=True)
    own = site.at(replica.own_dir(layout))
    (own / "url").write_text(URL)
    (own / "installed").write_text("of the version before\n")
    follow(site, layout)
    done = site.attempt(replica.install(layout, url))
    assert done.returncode == replica.UNREACHED, done.stderr
    stays = url == URL
    assert (site.root / "state").exists() == stays
    assert (own / "ready").exists() == stays
    assert (own / "installed").exists() == stays
    (site.root / "ltx").write_text(LTX)
    site.run(replica.install(layout, url))  # the place is back: it is made anew
    started = [line for line in site.said if line.startswith("data=")]
    assert (len(started), started[-1].endswith(f"url={url}")) == (2, True)
    assert (own / "installed").read_text() == f"{replica.digest(layout, url)}\n"
