"""Looking at a server and preparing its account, with programs that answer as told."""

import stat

import pytest

from stagetools.deploy.commands import server
from stagetools.deploy.facts import parse_facts
from stagetools.deploy.layout import PROXY_DIR
from stagetools.deploy.steps import server as steps

DOCKER = """
case "$1 $2" in
  "version --format") echo docker=28.0 ;;
  "compose version") echo 2.33 ;;
  "buildx version") true ;;
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


def test_a_bare_server_is_looked_at_without_an_error(bare, layout) -> None:
    facts = steps.look(bare, layout)
    assert (facts.uid, facts.env, facts.release, facts.docker) == ("", "", "", "")
    assert (facts.domains, facts.containers, facts.taken_ports) == ((), (), ())
    assert not facts.is_ready
    assert facts.cores > 0
    assert facts.memory > 0
    assert 0 < facts.disk_free <= facts.disk_size
    assert facts.record is None


def test_looking_changes_nothing(bare, layout) -> None:
    before = sorted(str(path) for path in bare.root.rglob("*"))
    steps.look(bare, layout)
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
    assert facts.authority == "email a@b.test\nacme_ca x"
    assert (facts.docker, facts.compose, facts.buildx) == ("28.0", "2.33", True)
    assert facts.is_ready
    serving = facts.serving("shop_prod")
    assert serving
    assert serving.status == "Up 3 minutes"


def test_a_paused_site_serves_no_release(bare, layout) -> None:
    (bare.at(layout.site_dir) / "paused.sock").symlink_to("run/R1.sock")
    assert steps.look(bare, layout).release == ""


# --- the account --------------------------------------------------------------------------


@pytest.fixture
def prepared(machine):
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


def test_an_account_is_made_once(prepared, layout) -> None:
    first = steps.ensure_account(prepared, layout)
    assert first.changed
    assert "user shop_prod, secrets" in first.text
    env = prepared.at(layout.env_file)
    secret = env.read_text()
    assert mode(env) == 0o600
    second = steps.ensure_account(prepared, layout)
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


def test_an_empty_environment_file_is_made_anew(prepared, layout) -> None:
    """As a power cut at the wrong moment leaves it."""
    prepared.at(layout.env_file).write_text("")
    assert steps.ensure_account(prepared, layout).changed
    assert prepared.at(layout.env_file).read_text().startswith('SECRET_KEY="')


def test_data_is_the_accounts_and_sources_are_not(prepared, layout) -> None:
    prepared.run(server.ensure_account(layout))
    calls = [call for call in prepared.said if call.startswith("install")]
    own = " ".join(call for call in calls if "-o shop_prod" in call)
    for path in (layout.data_dir, layout.media_dir, layout.backups_dir, layout.run_dir):
        assert str(prepared.at(path)) in own
    assert str(prepared.at(layout.releases_dir)) not in own
