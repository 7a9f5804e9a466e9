"""Listing, naming again and pruning releases, on real files with a docker that only notes."""

import json
import os
import shutil
from pathlib import Path

import pytest

from stagetools.deploy.commands import releases
from stagetools.deploy.steps import release as steps

DOCKER = """
images=$(dirname "$said")/images
case "$1 $2" in
  "image ls") sed -n "s/^shop_prod://p" "$images" 2>/dev/null || true ;;
  "image rm") grep -vxF "$3" "$images" >"$images.new" || true; mv "$images.new" "$images" ;;
  "image inspect") grep -qxF "$5" "$images" && echo 1000 ;;
  "tag "*) echo "$3" >>"$images" ;;
esac
"""


@pytest.fixture
def docker(machine):
    machine.program("docker", DOCKER)
    (machine.root / "images").write_text("caddy:2\n")
    return machine


@pytest.fixture
def make(docker, layout):
    """Leave a release's files, image and socket as a deploy does; the n-th is n hours old."""

    def make(name: str, *, live: bool = True, hours: int = 0) -> None:
        docker.at(layout.source(name)).mkdir()
        (docker.at(layout.source(name)) / "manage.py").write_text(name)
        for path in (
            layout.compose_env(name),
            layout.manifest(name),
            layout.socket(name),
        ):
            docker.at(path).write_text(name)
            aged(docker.at(path), hours)
        if live:
            docker.at(layout.record(name)).write_text(
                json.dumps(
                    {
                        "release": name,
                        "fingerprint": "f",
                        "who": "w",
                        "commit": "c",
                        "at": "t",
                    }
                )
            )
        with (docker.root / "images").open("a") as images:
            images.write(f"shop_prod:{name}\n")

    return make  # fmt: skip


def aged(path: Path, hours: int) -> None:
    then = path.stat().st_mtime - hours * 3600
    os.utime(path, (then, then))


def prune(docker, layout, serving: str, *, keep: int = 2, snapshots: int = 2) -> None:
    command = releases.prune(
        layout, serving=serving, keep=keep, snapshots=snapshots, cache="2GB"
    )
    docker.run(command)


def kept(docker, layout) -> set[str]:
    return {path.name for path in docker.at(layout.releases_dir).iterdir()}


def images(docker) -> list[str]:
    return (docker.root / "images").read_text().split()


def files_of(*names: str) -> set[str]:
    suffixes = ("", ".env", ".manifest", ".json")
    return {f"{name}{suffix}" for name in names for suffix in suffixes}


def test_the_newest_releases_that_went_live_are_kept(docker, layout, make) -> None:
    for name in ("R1", "R2", "R3", "R4"):
        make(name)
    prune(docker, layout, "R4")
    assert kept(docker, layout) == files_of("R3", "R4")
    assert images(docker) == ["caddy:2", "shop_prod:R3", "shop_prod:R4"]
    sockets = {path.name for path in docker.at(layout.run_dir).iterdir()}
    assert sockets == {"R3.sock", "R4.sock"}


def test_the_release_that_serves_is_kept_however_old_it_is(
    docker, layout, make
) -> None:
    for name in ("R1", "R2", "R3", "R4"):
        make(name)
    prune(docker, layout, "R1")
    assert kept(docker, layout) == files_of("R1", "R3", "R4")


def test_what_never_went_live_goes(docker, layout, make) -> None:
    make("R1")
    make("R2", live=False)
    make("R3")
    prune(docker, layout, "R3")
    assert kept(docker, layout) == files_of("R1", "R3")


def test_what_an_interrupted_upload_left_goes(docker, layout, make) -> None:
    make("R1")
    docker.at(layout.source("R2.part") / "a").mkdir(parents=True)
    for name in (
        "R2.part.removed",
        "R2.env",
        "R2.manifest",
        "R1.json.new",
        "R0.json.new",
    ):
        docker.at(layout.releases_dir / name).write_text("")
    prune(docker, layout, "R1")
    assert kept(docker, layout) - {"R1.json.new"} == files_of("R1")


def test_pruning_again_changes_nothing(docker, layout, make) -> None:
    for name in ("R1", "R2", "R3"):
        make(name)
    prune(docker, layout, "R3")
    before = kept(docker, layout)
    prune(docker, layout, "R3")
    assert kept(docker, layout) == before


def test_a_first_release_has_nothing_to_be_pruned(docker, layout, make) -> None:
    make("R1")
    prune(docker, layout, "R1")
    assert kept(docker, layout) == files_of("R1")


def test_hashed_files_go_with_the_last_release_that_used_them(
    docker, layout, make
) -> None:
    for name, hours in (("R1", 9), ("R2", 6), ("R3", 3)):
        make(name, hours=hours)
    for name, hours in (("a", 8), ("b", 5), ("c", 2)):
        path = docker.at(layout.assets_dir / "css" / name)
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
        aged(path, hours)
    prune(docker, layout, "R3")
    assert {p.name for p in docker.at(layout.assets_dir / "css").iterdir()} == {
        "b",
        "c",
    }


def test_the_newest_snapshots_are_kept_and_other_backups_are_not_touched(
    docker, layout, make
) -> None:
    make("R1")
    names = [f"before-2026010{n}-120000-abc.sqlite3" for n in range(5)]
    for name in (*names, "replaced-R0.sqlite3", "mine.sqlite3"):
        docker.at(layout.backups_dir / name).write_text("")
    prune(docker, layout, "R1")
    left = {path.name for path in docker.at(layout.backups_dir).iterdir()}
    assert left == {*names[-2:], "replaced-R0.sqlite3", "mine.sqlite3"}


def test_another_installations_images_are_never_named(docker, layout, make) -> None:
    make("R1")
    prune(docker, layout, "R1")
    removed = [call for call in docker.said if call.startswith("docker image rm")]
    assert not removed
    assert "caddy:2" in images(docker)


def test_records_come_newest_first_with_the_size_of_their_images(
    docker, layout, make
) -> None:
    for name in ("R1", "R2"):
        make(name)
    make("R3", live=False)
    (docker.root / "images").write_text("shop_prod:R2\n")
    found = steps.known(docker, layout)
    assert [(record.release, record.size) for record in found] == [
        ("R2", 1000),
        ("R1", 0),
    ]


def test_a_broken_record_is_left_out(docker, layout, make) -> None:
    make("R1")
    make("R2")
    docker.at(layout.record("R2")).write_text('{"release": ')
    assert [record.release for record in steps.known(docker, layout)] == ["R1"]


def test_where_nothing_was_deployed_there_are_no_records(docker, layout) -> None:
    shutil.rmtree(docker.at(layout.releases_dir))
    assert steps.known(docker, layout) == []


def test_an_older_release_is_named_again_with_its_image(docker, layout, make) -> None:
    make("R1")
    steps.again(docker, layout, "R1", "R2")
    assert "shop_prod:R2" in images(docker)
    again = docker.at(layout.source("R2"))
    assert (again / "manage.py").read_text() == "R1"
    assert docker.at(layout.manifest("R2")).read_text() == "R1"


def test_naming_again_goes_over_what_an_interruption_left(docker, layout, make) -> None:
    make("R1")
    part = docker.at(f"{layout.source('R2')}.part")
    part.mkdir()
    (part / "half").write_text("")
    steps.again(docker, layout, "R1", "R2")
    assert [p.name for p in docker.at(layout.source("R2")).iterdir()] == ["manage.py"]
    assert not part.exists()
