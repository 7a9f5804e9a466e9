"""Looking at a server and preparing its account, with programs that answer as told."""

import os
import stat
from pathlib import Path

import pytest

from stagetools.deploy.commands import server
from stagetools.deploy.facts import parse_facts
from stagetools.deploy.layout import LAYOUT, PROXY_DIR
from stagetools.deploy.steps import server as steps

DOCKER = """
case "$1 $2" in
  "version --format") echo docker=28.0 ;;
  "compose version") echo 2.33 ;;
  "buildx version") true ;;
  "volume inspect") echo "$VOLUME" ;;
  "ps --all") echo "container=c1 shop_prod R1 running Up 3 minutes" ;;
esac
"""


@pytest.fixture
def bare(machine):
    """A server without Docker, without the account."""
    machine.program("docker", "exit 127")
    machine.program("id", "exit 1")
    machine.program("ss", "true")
    return machine


def test_a_bare_server_is_looked_at_without_an_error(at, bare) -> None:
    facts = steps.look(at(bare))
    assert (facts.uid, facts.env, facts.release, facts.docker) == ("", "", "", "")
    assert (facts.domains, facts.containers, facts.taken_ports) == ((), (), ())
    assert not facts.is_ready
    assert facts.cores > 0
    assert facts.memory > 0
    assert 0 < facts.disk_free <= facts.disk_size
    assert facts.record is None


def test_looking_changes_nothing(at, bare) -> None:
    before = sorted(str(path) for path in bare.root.rglob("*"))
    steps.look(at(bare))
    after = {str(path) for path in bare.root.rglob("*")} - {str(bare.root / "said")}
    assert sorted(after) == [path for path in before if path != str(bare.root / "said")]


def test_a_deployed_server_is_told_as_it_stands(bare, layout) -> None:
    bare.program("docker", DOCKER)
    bare.program("id", "case $1 in -u) echo 998 ;; -g) echo 997 ;; esac")
    bare.program(
        "ss",
        """
        echo 'LISTEN 0 4096 *:80  *:* users:(("caddy",pid=7,fd=3))'
        echo 'LISTEN 0 4096 *:443 *:* users:(("caddy",pid=7,fd=4),("caddy",pid=8,fd=4))'
        """,
    )
    bare.at(layout.env_file).write_text('SECRET_KEY="s"\n')
    (bare.at(layout.home) / ".layout").write_text(f"{LAYOUT}\n")
    bare.at(layout.system.database_sqlite_path).write_text("four")
    (bare.at(layout.site_dir) / "site").write_text("a.test\nb.test\n")
    bare.at(layout.current).symlink_to("run/R1.sock")
    bare.at(layout.manifest("R1")).write_text("")
    bare.at(layout.manifest("R2")).write_text("")
    bare.at(layout.record("R1")).write_text(
        '{"release": "R1", "fingerprint": "f", "who": "w", "commit": "c", "at": "t"}'
    )
    bare.at(PROXY_DIR).mkdir(parents=True)
    (bare.at(PROXY_DIR) / "authority.caddy").write_text("email a@b.test\nacme_ca x\n")
    facts = parse_facts(bare.run(server.look(layout)))
    assert (facts.uid, facts.gid, facts.database) == ("998", "997", 4)
    assert facts.domains == ("a.test", "b.test")
    assert (facts.release, facts.newest) == ("R1", "R2")
    assert facts.record
    assert facts.record.release == "R1"
    assert facts.taken_ports == ("caddy",)
    assert not facts.proxy_runs
    assert facts.authority == "email a@b.test\nacme_ca x"
    assert (facts.docker, facts.compose, facts.buildx) == ("28.0", "2.33", True)
    assert facts.is_ready
    serving = facts.serving("shop_prod")
    assert serving
    assert serving.status == "Up 3 minutes"


@pytest.mark.parametrize("tls", [True, False])
def test_domains_that_have_no_certificate_yet_are_told(
    bare, layout, tmp_path: Path, tls: bool
) -> None:
    bare.program("docker", DOCKER)
    bare.variables["VOLUME"] = str(tmp_path / "volume")
    made = tmp_path / "volume/caddy/certificates/acme.test-directory/a.test"
    made.mkdir(parents=True)
    (made / "a.test.crt").write_text("certificate")
    (bare.at(layout.site_dir) / "site").write_text("a.test\nb.test\n")
    if tls:
        (bare.at(layout.site_dir) / "tls").write_text("")
    facts = parse_facts(bare.run(server.look(layout)))
    assert facts.uncertified == (("b.test",) if tls else ())


@pytest.fixture
def serving(bare, layout):
    """R1 serves, and its database is four bytes long."""
    bare.at(layout.current).symlink_to("run/R1.sock")
    bare.at(layout.compose_env("R1")).write_text("STAGETOOLS_RELEASE=R1\n")
    bare.at(layout.system.database_sqlite_path).write_text("four")
    return bare


def test_the_live_database_is_that_of_the_release_that_serves(
    at, serving, layout
) -> None:
    facts = steps.look(at(serving))
    assert facts.data_dir == serving.at(layout.data_dir)
    assert facts.database == 4
    other = layout.home / "data-R1"
    serving.at(other).mkdir()
    (serving.at(other) / "shop.sqlite3").write_text("seven..")
    serving.at(layout.compose_env("R1")).write_text(
        f"STAGETOOLS_DATA={serving.at(other)}\nWEB_CONCURRENCY=2\n"
    )
    facts = steps.look(at(serving))
    assert (facts.data_dir, facts.database) == (serving.at(other), 7)


def test_a_database_that_is_a_link_is_not_followed(at, serving, layout) -> None:
    """The account may write there: the size of another's file is none of its business."""
    elsewhere = serving.root / "elsewhere"
    elsewhere.write_text("x" * 100_000)
    path = serving.at(layout.system.database_sqlite_path)
    path.unlink()
    path.symlink_to(elsewhere)
    assert steps.look(at(serving)).database != 100_000


def test_an_account_of_an_older_layout_is_not_ready(at, serving, layout) -> None:
    serving.program("docker", DOCKER)
    serving.program("id", "echo 998")
    serving.at(layout.env_file).write_text('SECRET_KEY="s"\n')
    mark = serving.at(layout.home) / ".layout"
    for text, ready in (
        (None, False),
        ("1\n", False),
        ("no number", False),
        (f"{LAYOUT}\n", True),
        (f"{LAYOUT + 1}\n", True),
    ):
        if text is not None:
            mark.write_text(text)
        assert steps.look(at(serving)).is_ready is ready, text


def test_our_proxy_is_known_by_its_container(at, bare) -> None:
    """Another Caddy on the host's network has the same name, and half of the visitors."""
    own = Path("/proc/self/cgroup").read_text().split("/")[-1].strip() or "/"
    bare.program("docker", f'case "$*" in "ps "*) echo "proxy={own}" ;; esac')
    ours, other = os.getpid(), 2**22 + 1
    bare.program(
        "ss",
        f"""
        echo 'LISTEN 0 4096 *:80  *:* users:(("caddy",pid={ours},fd=3))'
        echo 'LISTEN 0 4096 [::]:443 [::]:* users:(("caddy",pid={ours},fd=4))'
        test ! -e "$(dirname "$said")/foreign" ||
          echo 'LISTEN 0 4096 *:443 *:* users:(("caddy",pid={other},fd=4))'
        """,
    )
    facts = steps.look(at(bare))
    assert (facts.proxy_runs, facts.taken_ports) == (True, ())
    (bare.root / "foreign").touch()
    facts = steps.look(at(bare))
    assert (facts.proxy_runs, facts.taken_ports) == (True, ("caddy",))


def test_it_is_told_whether_the_kernel_follows_planted_links(at, bare) -> None:
    file = bare.at("/proc/sys/fs/protected_symlinks")
    file.parent.mkdir(parents=True)
    for text, follows in (("0\n", True), ("1\n", False)):
        file.write_text(text)
        assert steps.look(at(bare)).follows_links is follows


def test_a_paused_site_serves_no_release(at, bare, layout) -> None:
    (bare.at(layout.site_dir) / "paused.sock").symlink_to("run/R1.sock")
    assert steps.look(at(bare)).release == ""


# --- the account --------------------------------------------------------------------------


@pytest.fixture
def prepared(machine):
    machine.program("chown", "true")
    machine.program("useradd", 'touch "$(dirname "$said")/account"')
    machine.program("id", 'test -e "$(dirname "$said")/account"')
    machine.program(
        "install",
        """
        mode=0755
        while test $# -gt 0; do case $1 in
          -d) ;; -o|-g) shift ;; -m) mode=$2; shift ;; *) mkdir -p "$1"; chmod "$mode" "$1" ;;
        esac; shift; done
        """,
    )
    return machine


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_an_account_is_made_once(at, prepared, layout) -> None:
    first = steps.ensure_account(at(prepared))
    assert first.changed
    assert "user shop_prod, secrets" in first.text
    env = prepared.at(layout.env_file)
    secret = env.read_text()
    assert mode(env) == 0o600
    second = steps.ensure_account(at(prepared))
    assert not second.changed
    assert env.read_text() == secret
    assert sum(call.startswith("useradd") for call in prepared.said) == 1


def test_a_secret_key_is_long_and_unlike_another(prepared, layout, other) -> None:
    keys = set()
    for of in (layout, other):
        prepared.run(server.ensure_account(of))
        keys.add(prepared.at(of.env_file).read_text())
    assert len(keys) == 2
    assert all(len(key) >= len('SECRET_KEY=""\n') + 50 for key in keys)
    assert not any(set(key) & set("$\\+/'") for key in keys)


def test_a_secret_is_on_the_disk_before_a_site_lives_by_it(prepared, layout) -> None:
    """A power cut takes a new file's content for half a minute, and leaves its name."""
    prepared.program("sync", 'grep -q SECRET_KEY "$1" && exit 1')
    assert prepared.attempt(server.ensure_account(layout)).returncode != 0
    assert not prepared.at(layout.env_file).exists()


def test_an_empty_environment_file_is_made_anew(at, prepared, layout) -> None:
    """As a power cut at the wrong moment leaves it."""
    prepared.at(layout.env_file).write_text("")
    assert steps.ensure_account(at(prepared)).changed
    assert prepared.at(layout.env_file).read_text().startswith('SECRET_KEY="')


def test_data_is_the_accounts_and_all_else_is_roots(prepared, layout) -> None:
    prepared.run(server.ensure_account(layout))
    calls = [call.split() for call in prepared.said if call.startswith("install")]
    owners = {
        path: (call[call.index("-o") + 1], call[call.index("-m") + 1])
        for call in calls
        if "-o" in call
        for path in call[6:]
    }
    own = (layout.data_dir, layout.media_dir, layout.backups_dir, layout.assets_dir)
    for path in own:
        assert owners[str(prepared.at(path))] == ("shop_prod", "0750")
    assert owners[str(prepared.at(layout.home))] == ("root", "0750")
    assert owners[str(prepared.at(layout.releases_dir))] == ("root", "0755")
    assert owners[str(prepared.at(layout.run_dir))] == ("root", "1777")


def test_uploads_in_flight_have_a_place_that_the_account_made(prepared, layout) -> None:
    prepared.run(server.ensure_account(layout))
    assert mode(prepared.at(layout.media_dir) / ".tmp") == 0o700
    assert any(
        call.startswith("setpriv") and call.endswith("/media/.tmp")
        for call in prepared.said
    )


def test_a_directory_that_is_a_link_is_left_as_it_is(prepared, layout) -> None:
    """`data` leads to the live copy; root may have put uploads on another disk."""
    elsewhere = prepared.root / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    for path in (layout.data_dir, layout.media_dir):
        prepared.at(path).rmdir()
        prepared.at(path).symlink_to(elsewhere)
    prepared.run(server.ensure_account(layout))
    assert mode(elsewhere) == 0o700
    assert [path.name for path in elsewhere.iterdir()] == [".tmp"]


@pytest.mark.parametrize("which", ["env_file", "releases_dir"])
def test_a_link_where_roots_files_lie_is_refused(prepared, layout, which: str) -> None:
    path = prepared.at(getattr(layout, which))
    if path.is_dir():
        path.rmdir()
    path.symlink_to(prepared.root / "elsewhere")
    done = prepared.attempt(server.ensure_account(layout))
    assert done.returncode != 0
    assert f"{path} is a link" in done.stderr.decode()
    assert not (prepared.root / "elsewhere").exists()


def test_a_home_of_an_older_layout_is_converted_once(at, prepared, layout) -> None:
    prepared.run(server.ensure_account(layout))
    (prepared.at(layout.home) / ".layout").unlink()
    assert "directories" in steps.ensure_account(at(prepared)).text
    assert not steps.ensure_account(at(prepared)).changed


# --- installing packages --------------------------------------------------------------------

LISTS = "/var/lib/apt/lists/lock"


@pytest.fixture
def apt(machine):
    """A machine on which another program may hold apt's locks, as /proc/locks tells it."""
    machine.program("apt-get", 'test ! -e "$(dirname "$said")/fails"')
    machine.program("systemctl", "true")
    machine.program("docker", "true")
    machine.program("sleep", 'rm -f "$(dirname "$said")/held"')
    machine.program("stat", "echo 4711")
    machine.program(
        "awk",
        """
        case $2 in at=:4711*) ;; *) exit 9 ;; esac
        test ! -e "$(dirname "$said")/held" || echo $$
        """,
    )
    return machine


def test_packages_are_installed_at_once_where_nobody_else_does(apt) -> None:
    assert apt.run(server.install(["docker.io"])) == ""
    assert not any(call.startswith("sleep") for call in apt.said)
    assert any(call.endswith("install -y --no-install-recommends docker.io") for call in apt.said)  # fmt: skip


def test_another_program_that_installs_is_waited_for_and_told(apt) -> None:
    """As cloud-init does in a new server's first minutes."""
    (apt.root / "held").touch()
    said = apt.run(server.install(["docker.io"]))
    assert said.startswith("Waiting for another program that installs packages here: ")
    assert said.count("Waiting") == 1
    calls = [call.split()[0] for call in apt.said]
    assert calls.index("sleep") < calls.index("apt-get")


def test_apt_that_fails_by_itself_is_not_tried_again(apt) -> None:
    (apt.root / "fails").touch()
    assert apt.attempt(server.install(["docker.io"])).returncode != 0
    assert sum(call.startswith("apt-get") for call in apt.said) == 1


# --- what sites share of the engine -----------------------------------------------------------

OURS = b'{"live-restore": true, "bip": "192.168.231.1/24"}\n'
THEIRS = '{"bip": "192.168.231.1/24"}\n'


@pytest.fixture
def engine(machine):
    """An engine that restores once it has read `live-restore`; its file is somebody's."""
    file = machine.at(server.DAEMON_JSON)
    file.parent.mkdir(parents=True)
    file.write_text(THEIRS)
    machine.program(
        "systemctl",
        f"""
        case $1 in
          cat) test ! -e "$(dirname "$said")/no-unit" ;;
          reload) grep -qs live-restore {file} && touch "$(dirname "$said")/restores" ||
            rm -f "$(dirname "$said")/restores" ;;
        esac
        """,
    )
    machine.program("dockerd", "true")
    machine.program(
        "docker", 'test -e "$(dirname "$said")/restores" && echo true || echo false'
    )
    machine.program("sleep", "true")
    return machine


def set_engine(engine, text: bytes = OURS) -> tuple[str, str, str]:
    """What it said, what it remembered, and the engine's file afterwards."""
    said = engine.run(server.set_engine(1, "live-restore"), stdin=text).strip()
    told = engine.at("/srv/stagetools/engine").read_text().strip()
    return said, told, engine.at(server.DAEMON_JSON).read_text()


def test_the_engine_gets_live_restore_and_an_end_of_the_logs_limit(engine) -> None:
    assert set_engine(engine) == ("live-restore", "1 live-restore", OURS.decode())
    before = engine.at(f"{server.DAEMON_JSON}.before-stagetools")
    assert before.read_text() == THEIRS
    unit = engine.at("/etc/systemd/system/docker.service.d/stagetools.conf").read_text()
    assert "LogRateLimitBurst=" in unit
    calls = [call for call in engine.said if call.startswith("systemctl")]
    assert calls[-2:] == ["systemctl daemon-reload", "systemctl reload docker"]


def test_an_engine_that_a_flag_keeps_from_it_gets_its_file_back(engine) -> None:
    """With both it would not start again."""
    engine.program("docker", "echo false")
    assert set_engine(engine) == ("theirs", "1 theirs", THEIRS)
    assert engine.said[-1] == "systemctl reload docker"


def test_an_engine_that_cannot_check_its_file_keeps_it(engine) -> None:
    engine.program("dockerd", "exit 125")
    assert set_engine(engine) == ("theirs", "1 theirs", THEIRS)


def test_where_the_file_stays_the_logs_limit_ends_none_the_less(engine) -> None:
    said, _, text = set_engine(engine, b"")
    assert (said, text) == ("live-restore", THEIRS)
    assert engine.said[-1] == "systemctl reload docker"


def test_an_engine_that_is_no_service_is_left_alone(engine) -> None:
    """A snap's has a unit and a file elsewhere."""
    (engine.root / "no-unit").touch()
    assert set_engine(engine) == ("theirs", "1 theirs", THEIRS)
    assert [call for call in engine.said if "reload" in call] == []
