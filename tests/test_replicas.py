"""What deploy.toml says of a replica, and what `inv status` says of the server's."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stagetools.deploy.config import load
from stagetools.deploy.limits import SHUTDOWN
from stagetools.deploy.replicas import (
    Replica,
    Replication,
    parse_moment,
    parse_replication,
)
from stagetools.errors import ConfigError

OVERLAYS = Path(__file__).parents[1] / "stagetools/deploy/overlays"
URL = "sftp://copy@203.0.113.9/srv/shop"
NOW = 1795686087
LISTED = (
    '{   "databases": [     {       "path": "/live/shop_prod.sqlite3",       "status": "replicating",'
    '       "last_sync_at": "2026-11-26T09:41:25.911249526Z"     }   ] } '
)
RUNS = f"url={URL}\nstate=running\nfollows=yes\nnow={NOW}\nlisted={LISTED}\n"


@pytest.mark.parametrize(
    "url",
    [
        *(
            "s3://bucket/shop",
            "s3://bucket/shop?endpoint=https://s3.test:9000&region=x",
        ),
        *("sftp://copy@203.0.113.9/srv/shop", "sftp://copy@[2001:db8::1]:2222/srv"),
        *(
            "file:///mnt/copy/shop",
            "gs://bucket/shop",
            "abs://account@container/shop",
            "",
        ),
    ],
)
def test_a_place_that_litestream_knows_is_taken(url: str) -> None:
    Replica(url=url).check("replica in x")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("bucket/shop", "is one of s3://, sftp://"),
        ("http://shop.test", "is one of s3://, sftp://"),
        ('s3://bucket/"shop', "in plain letters"),
        ("s3://bucket/$HOME", "in plain letters"),
        ("s3://bucket/a b", "in plain letters"),
        ("s3:///shop", "names no place"),
        ("file://mnt/copy", "names no directory"),
        ("file:///mnt/../etc", "names no directory"),
        ("file:///", "names no directory"),
        ("sftp://203.0.113.9/srv", "needs a user, a host and a folder"),
        ("sftp://copy@203.0.113.9/", "needs a user, a host and a folder"),
        ("sftp://copy@203.0.113.9:x/srv", "cannot be read"),
    ],
)
def test_what_is_no_place_is_refused(url: str, why: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(why)):
        Replica(url=url).check("replica in x")


def test_a_password_is_refused_and_not_shown() -> None:
    for url in ("sftp://copy:hunter2@203.0.113.9/srv", "s3://a:hunter2@b/c"):
        with pytest.raises(ConfigError, match="no place for one") as caught:
            Replica(url=url).check("replica in x")
        assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        Replica(url="sftp://copy:hunter2@203.0.113.9:x/srv").check("replica in x")
    assert "hunter2" not in str(caught.value)


def test_two_stages_do_not_share_a_place(tmp_path: Path) -> None:
    stage = '[stages.{0}]\ndomains = ["{0}.test"]\nreplica = {{ url = "s3://b/{1}" }}\n'
    file = tmp_path / "deploy.toml"
    file.write_text(stage.format("prod", "a") + stage.format("qual", "a"))
    with pytest.raises(ConfigError, match=r"has the url of \[stages.qual\]"):
        load(file, "prod")
    file.write_text(stage.format("prod", "a") + stage.format("qual", "b"))
    assert load(file, "prod").replica == Replica(url="s3://b/a")


def test_where_an_sftp_server_is() -> None:
    assert Replica(url=URL).ssh == ("copy@203.0.113.9", 22)
    assert Replica(url="sftp://c@[2001:db8::1]:2222/a").ssh == ("c@2001:db8::1", 2222)
    assert Replica(url="s3://b/c").ssh == ("", 0)
    assert Replica(url="file:///mnt/copy").directory == "/mnt/copy"
    assert Replica(url="s3://b/c").directory == ""


def test_status_tells_how_far_it_is_behind() -> None:
    found = parse_replication(RUNS)
    assert found.row == f"1 s behind; {URL}"
    assert found.troubles() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("state=running", "state=exited"), "it does not run (exited)"),
        (("state=running", "state="), "it does not run (there is no container)"),
        (("state=running", "state=paused"), "it does not run (paused)"),
        (("follows=yes\n", ""), "it follows a database that is not the live one"),
        ((f"now={NOW}", f"now={NOW + 300}"), "it is 5 min behind"),
        ((LISTED, "{}"), "behind"),
        ((LISTED, LISTED + "\nsaid=no route"), "cannot be sent: no route"),
    ],
)
def test_nor_is_it_silent_when_something_is_wrong(
    change: tuple[str, str], said: str
) -> None:
    assert RUNS.count(change[0]) == 1
    [trouble] = parse_replication(RUNS.replace(*change)).troubles()
    assert said in trouble


def test_where_none_is_nothing_is_wrong() -> None:
    assert parse_replication("") == Replication()
    assert Replication().troubles() == []


@pytest.mark.parametrize(
    "listed",
    [
        "",
        "[]",
        "null",
        '{"databases": [1]}',
        '{"databases": [{"last_sync_at": "x"}]}',
        "9" * 5000,
    ],
)
def test_its_container_may_say_anything(listed: str) -> None:
    found = parse_replication(RUNS.replace(LISTED, listed))
    assert found.row.startswith("nothing sent yet")


def test_a_moment_is_utc_unless_it_says_otherwise() -> None:
    five = datetime(2026, 11, 20, 14, 5, tzinfo=UTC)
    assert parse_moment("2026-11-20 14:05") == five
    assert parse_moment("2026-11-20T14:05:00Z") == five
    assert parse_moment(" 2026-11-20 15:05:00+01:00") == five
    for text in ("", "yesterday", "2026-11-20", "14:05", "2026-13-20 14:05"):
        assert parse_moment(text) is None


def test_litestream_leaves_before_it_is_killed() -> None:
    config = (OVERLAYS / "litestream.yaml").read_text()
    compose = (OVERLAYS / "replica.yaml").read_text()
    sync = re.search(r"shutdown-sync-timeout: (\d+)s", config)
    grace = re.search(r"stop_grace_period: (\d+)s", compose)
    assert sync
    assert grace
    assert int(sync[1]) < int(grace[1]) < SHUTDOWN.grace


def test_it_may_do_no_more_than_the_site() -> None:
    text = (OVERLAYS / "replica.yaml").read_text()
    for line in ("read_only: true", "cap_drop: [ALL]", "no-new-privileges:true", "mem_limit:",
                 "memswap_limit:", "cpus:", "pids_limit:", "restart: unless-stopped"):  # fmt: skip
        assert line in text
    assert "env_file" not in text  # the site's secrets are the site's
    assert "ports" not in text
