"""What the server printed becomes frozen values, and nothing else."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagetools.deploy.facts import Container, Record, named, parse_facts, span

BARE = """\
os=debian
os_version=13
os_codename=trixie
now=20260131-080000
newest=
cores=2
memory_kb=2000000
disk_free_kb=1000
disk_size_kb=4000
systemd=yes
database=
uid=
gid=
env=
home_is_roots=
data_dir=/home/shop_prod/data
overlays=
domains=
release=
taken_ports=
authority=
proxy_version=1
proxy=e3b0
"""
RECORD = Record(
    release="20260131-080000-abcdef0",
    fingerprint="f" * 64,
    who="ann@desk",
    commit="abc-dirty",
    at="2026-01-31T08:00:00+00:00",
    migrations=("shop.0002_price",),
)


def deployed(*lines: str) -> str:
    """A server on which shop_prod serves."""
    more = {
        "uid": "998",
        "gid": "997",
        "env": "5e",
        "home_is_roots": "yes",
        "data_dir": "/home/shop_prod/data",
        "release": "R1",
        "database": "4096",
    }
    text = BARE
    for key, value in more.items():
        text = text.replace(f"\n{key}=\n", f"\n{key}={value}\n")
    return (
        text
        + "docker=28.0\ncompose=2.33\nbuildx=yes\n"
        + "".join(f"{x}\n" for x in lines)
    )


def test_a_bare_server() -> None:
    facts = parse_facts(BARE)
    assert (facts.os, facts.os_version, facts.os_codename) == ("debian", "13", "trixie")
    assert (facts.memory, facts.disk_free, facts.disk_size) == (
        2_048_000_000,
        1_024_000,
        4_096_000,
    )
    assert (facts.docker, facts.compose, facts.buildx) == ("", "", False)
    assert (facts.database, facts.containers, facts.record) == (0, (), None)
    assert not facts.is_ready
    assert not facts.proxy_runs
    assert facts.serving("shop_prod") is None


def test_a_deployed_server() -> None:
    facts = parse_facts(
        deployed(
            f"record={RECORD.to_json()}",
            "container=c1 shop_prod R1 running Up 3 minutes (healthy)",
            "container=c2 shop_prod R0 exited Exited (0) 2 hours ago",
            "container=c3 blog_prod R1 running Up 2 days",
        )
    )
    assert facts.is_ready
    assert facts.record == RECORD
    assert facts.database == 4096
    assert facts.serving("shop_prod") == Container(
        "c1", "shop_prod", "R1", "running", "Up 3 minutes (healthy)"
    )
    assert len(facts.containers) == 3


@pytest.mark.parametrize("missing", ["docker=28.0", "compose=2.33", "buildx=yes", "uid=998", "env=5e", "home_is_roots=yes"])  # fmt: skip
def test_whatever_is_missing_the_server_is_not_ready(missing: str) -> None:
    key = missing.partition("=")[0]
    text = deployed().replace(
        f"{missing}\n", f"{key}=\n" if key in ("uid", "env", "home_is_roots") else ""
    )
    assert not parse_facts(text).is_ready


@pytest.mark.parametrize("state", ["exited", "restarting", "created", "dead"])
def test_a_container_that_does_not_run_serves_nobody(state: str) -> None:
    facts = parse_facts(deployed(f"container=c1 shop_prod R1 {state} Up"))
    assert facts.serving("shop_prod") is None


def test_a_container_without_labels_is_no_error() -> None:
    facts = parse_facts(deployed("container=c1   running Up 2 days"))
    assert facts.containers[0].system == ""


def test_a_value_may_hold_the_sign_that_parts_it() -> None:
    facts = parse_facts(
        BARE.replace("authority=", "authority=acme_ca https://a/?b=c|email d|")
    )
    assert facts.authority == "acme_ca https://a/?b=c\nemail d"


def test_our_proxy_and_the_ports_that_others_have() -> None:
    facts = parse_facts(BARE.replace("taken_ports=", "taken_ports=caddy nginx "))
    assert (facts.proxy_runs, facts.taken_ports) == (False, ("caddy", "nginx"))
    facts = parse_facts(BARE + "proxy_runs=yes\nfollows_links=1\n")
    assert (facts.proxy_runs, facts.taken_ports) == (True, ())
    assert facts.follows_links


# --- records -----------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@settings(deadline=None)
@given(
    st.builds(
        Record,
        release=TEXTS,
        fingerprint=TEXTS,
        who=TEXTS,
        commit=TEXTS,
        at=TEXTS,
        origin=TEXTS,
        why=TEXTS,
        migrations=st.lists(TEXTS).map(tuple),
    )
)
def test_a_record_is_read_as_it_was_written_on_one_line(record: Record) -> None:
    assert len(record.to_json().splitlines()) == 1
    assert Record.parse(record.to_json()) == record


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "7", '"text"', "{", "{}", '{"unknown": 1}'],
)
def test_what_is_no_record_is_none(text: str) -> None:
    assert Record.parse(text) is None


def test_a_record_of_an_earlier_version_is_still_one() -> None:
    old = {"release": "R1", "fingerprint": "f", "who": "w", "commit": "c", "at": "t"}
    record = Record.parse(json.dumps(old))
    assert record
    assert (record.why, record.migrations, record.made_of) == ("deploy", (), "R1")


def test_a_record_of_a_later_version_is_still_one() -> None:
    newer = {**json.loads(RECORD.to_json()), "moon": [1], "migrations": None}
    assert Record.parse(json.dumps(newer)) == replace(RECORD, migrations=())
    bare = Record.parse('{"release": "R1"}')
    assert bare
    assert bare.age(datetime(2026, 1, 31, tzinfo=UTC)) == "at an unknown time"


def test_the_size_of_an_image_is_not_written_down() -> None:
    assert "size" not in json.loads(RECORD.with_size(7).to_json())
    assert RECORD.with_size(7).size == 7


def test_another_launch_is_made_of_what_was_built() -> None:
    again = Record.parse(json.dumps({**json.loads(RECORD.to_json()), "origin": "R0"}))
    assert again
    assert again.made_of == "R0"


def test_a_records_age_is_told_in_the_largest_unit() -> None:
    assert RECORD.age(datetime(2026, 1, 31, 11, 59, tzinfo=UTC)) == "3 h ago"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"),
     (86399, "23 h"), (86400, "1 d"), (10**7, "115 d")],
)  # fmt: skip
def test_a_span_is_told_in_the_largest_whole_unit(seconds: int, words: str) -> None:
    assert span(seconds) == words


# --- naming a release ---------------------------------------------------------------------

BUILT = replace(RECORD, release="20260131-070000-1234567", commit="0123456789")
CHANGED = replace(RECORD, commit="v1.2-3-gfeedbee123-dirty")
AGAIN = replace(
    BUILT, release="20260131-090000-1234567", origin=BUILT.release, why="env"
)
KEPT = [AGAIN, CHANGED, BUILT]


@pytest.mark.parametrize(
    ("word", "found"),
    [
        (AGAIN.release, [AGAIN]),
        (BUILT.release, [AGAIN, BUILT]),  # the newest launch of it first
        ("1234567", [AGAIN, BUILT]),
        ("0123456789", [AGAIN, BUILT]),
        ("0123", [AGAIN, BUILT]),
        ("v1.2-3-gfeedbee123-dirty", [CHANGED]),
        ("v1.2-3-gfeedbee123", [CHANGED]),
        ("feedbee123", [CHANGED]),
        ("feedbe", [CHANGED]),
        ("abcdef0", [CHANGED]),
        ("20260131-08", [CHANGED]),
        ("2026", KEPT),
        ("nothing", []),
        ("dirty", []),
    ],
)
def test_a_release_is_named_by_any_of_its_names(word: str, found: list[Record]) -> None:
    assert named(KEPT, word) == found


def test_a_record_without_a_commit_is_not_named_by_it() -> None:
    assert named([replace(BUILT, commit="")], "zzz") == []
