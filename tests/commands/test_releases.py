"""Listing, naming again and pruning releases, on real files with a docker that only notes."""

import json
import os
import shutil
from pathlib import Path

import pytest

from stagetools.deploy.commands import releases
from stagetools.deploy.steps import release as steps

R0, R1, R2, R3, R4, R5, R6, R7 = (f"2026010{n}-120000-abcdef{n}" for n in range(8))
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

    def make(
        name: str,
        *,
        live: bool = True,
        hours: int = 0,
        origin: str = "",
        migrations: tuple[str, ...] = (),
    ) -> None:
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
                        "origin": origin,
                        "migrations": migrations,
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
    for name in (R1, R2, R3, R4):
        make(name)
    prune(docker, layout, R4)
    assert kept(docker, layout) == files_of(R3, R4)
    assert images(docker) == ["caddy:2", f"shop_prod:{R3}", f"shop_prod:{R4}"]
    sockets = {path.name for path in docker.at(layout.run_dir).iterdir()}
    assert sockets == {f"{R3}.sock", f"{R4}.sock"}


def test_launches_of_one_build_take_no_other_builds_place(docker, layout, make) -> None:
    """After five changes of the environment there is still a release to roll back to."""
    make(R1)
    make(R2)
    for name in (R3, R4, R5, R6, R7):
        make(name, origin=R2)
    prune(docker, layout, R7)
    assert kept(docker, layout) == files_of(R1, R7)
    assert images(docker) == ["caddy:2", f"shop_prod:{R1}", f"shop_prod:{R7}"]


def test_the_build_before_the_one_that_serves_is_kept(docker, layout, make) -> None:
    """R6 is R2 again: a second rollback goes on to R1, however many came since."""
    for name in (R1, R2, R3, R4, R5):
        make(name)
    make(R6, origin=R2)
    prune(docker, layout, R6)
    assert kept(docker, layout) == files_of(R1, R5, R6)


def test_what_a_dropped_launch_migrated_is_remembered(docker, layout, make) -> None:
    """A restore asks which snapshot was made before the first migration since."""
    make(R0, migrations=("shop.0001_initial",))
    make(R1)
    make(R2, migrations=("shop.0002_price",))
    make(R3, origin=R2)
    make(R4)
    for _ in range(2):
        prune(docker, layout, R4, keep=3)
        assert kept(docker, layout) == files_of(R1, R3, R4) | {f"{R2}.json"}


def test_words_in_a_record_choose_nothing(docker, layout, make) -> None:
    """Who deployed, and from which commit, is whatever their machine says."""
    make(R1)
    make(R2)
    record = json.loads(docker.at(layout.record(R2)).read_text())
    record["who"] = f'ann", "origin": "{R1}'
    docker.at(layout.record(R2)).write_text(json.dumps(record))
    prune(docker, layout, R2)
    assert kept(docker, layout) == files_of(R1, R2)


def test_the_release_that_serves_is_kept_however_old_it_is(
    docker, layout, make
) -> None:
    for name in (R1, R2, R3, R4):
        make(name)
    prune(docker, layout, R1)
    assert kept(docker, layout) == files_of(R1, R3, R4)


def test_what_never_went_live_goes(docker, layout, make) -> None:
    make(R1)
    make(R2, live=False)
    make(R3)
    prune(docker, layout, R3)
    assert kept(docker, layout) == files_of(R1, R3)


def test_what_an_interrupted_upload_left_goes(docker, layout, make) -> None:
    make(R1)
    docker.at(layout.source(f"{R2}.part") / "a").mkdir(parents=True)
    for name in (
        f"{R2}.part.removed",
        f"{R2}.env",
        f"{R2}.manifest",
        f"{R1}.json.new",
        f"{R0}.json.new",
    ):
        docker.at(layout.releases_dir / name).write_text("")
    prune(docker, layout, R1)
    assert kept(docker, layout) - {f"{R1}.json.new"} == files_of(R1)


def test_pruning_again_changes_nothing(docker, layout, make) -> None:
    for name in (R1, R2, R3):
        make(name)
    prune(docker, layout, R3)
    before = kept(docker, layout)
    prune(docker, layout, R3)
    assert kept(docker, layout) == before


def test_a_first_release_has_nothing_to_be_pruned(docker, layout, make) -> None:
    make(R1)
    prune(docker, layout, R1)
    assert kept(docker, layout) == files_of(R1)


def test_hashed_files_go_with_the_last_release_that_used_them(
    docker, layout, make
) -> None:
    for name, hours in ((R1, 9), (R2, 6), (R3, 3)):
        make(name, hours=hours)
    for name, hours in (("a", 8), ("b", 5), ("c", 2)):
        path = docker.at(layout.assets_dir / "css" / name)
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
        aged(path, hours)
    prune(docker, layout, R3)
    assert {p.name for p in docker.at(layout.assets_dir / "css").iterdir()} == {
        "b",
        "c",
    }


def test_the_newest_snapshots_are_kept_and_other_backups_are_not_touched(
    docker, layout, make
) -> None:
    make(R1)
    names = [f"before-2026010{n}-120000-abc.sqlite3" for n in range(5)]
    for name in (*names, f"replaced-{R0}.sqlite3", "mine.sqlite3"):
        docker.at(layout.backups_dir / name).write_text("")
    prune(docker, layout, R1)
    left = {path.name for path in docker.at(layout.backups_dir).iterdir()}
    assert left == {*names[-2:], f"replaced-{R0}.sqlite3", "mine.sqlite3"}


def test_what_the_account_calls_its_files_removes_no_other(
    docker, layout, make
) -> None:
    """With line breaks, a name was three: the second was a rollback target's record."""
    make(R1)
    make(R2)
    record = docker.at(layout.record(R1))
    stamp = "20260101-120000-a"
    for folder, name in (
        (layout.backups_dir, f"before-{stamp}\n{record}\n.sqlite3"),
        (layout.backups_dir, f"before-{stamp} {record} .sqlite3"),
        (layout.run_dir, f"x\n{record}\n.sock"),
        (layout.run_dir, f"-rf {R1}.sock"),
        (layout.assets_dir, f"x\n{record}\n.css"),
    ):
        path = docker.at(f"{folder}/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    prune(docker, layout, R2, snapshots=0)
    assert kept(docker, layout) == files_of(R1, R2)


def test_links_that_the_account_made_lead_nowhere(docker, layout, make) -> None:
    make(R1, hours=1)
    target = docker.root / "target"
    target.mkdir()
    (target / "old").write_text("")
    aged(target / "old", 9)
    (target / "before-20260101-120000-a.sqlite3").write_text("")
    for link in (
        layout.assets_dir / "css",
        layout.run_dir / "x.sock",
        layout.backups_dir / "before-20260101-120000-a.sqlite3",
        layout.home / f"data-{R5}",
    ):
        docker.at(link).symlink_to(target)
    prune(docker, layout, R1, snapshots=0)
    assert len(list(target.iterdir())) == 2
    assert not docker.at(layout.home / f"data-{R5}").exists()


def test_where_the_account_may_write_it_is_the_account_that_removes(
    docker, layout, make
) -> None:
    """An account that may remove nothing: what is root's is pruned, and nothing else."""
    for name in (R1, R2, R3):
        make(name)
    for snapshot in ("a", "b", "c"):
        path = layout.backups_dir / f"before-20260101-120000-{snapshot}.sqlite3"
        docker.at(path).write_text("")
    stale = docker.at(layout.assets_dir / "old.css")
    stale.write_text("")
    aged(stale, 99)
    docker.program("setpriv", "exit 1")
    prune(docker, layout, R3)
    assert kept(docker, layout) == files_of(R2, R3)
    assert len(list(docker.at(layout.run_dir).iterdir())) == 3
    assert len(list(docker.at(layout.backups_dir).iterdir())) == 3
    assert stale.exists()


@pytest.mark.parametrize("lost", ["env", "link"])
def test_no_doubt_about_the_live_database_removes_one(
    docker, layout, make, lost: str
) -> None:
    """What serves does not say where it is; or says another than `data` leads to."""
    make(R3)
    directory = docker.at(layout.home / f"data-{R1}")
    directory.mkdir()
    (directory / "shop.sqlite3").write_text("live")
    if lost == "env":
        docker.at(layout.compose_env(R3)).unlink()
    else:
        docker.at(layout.data_dir).rmdir()
        docker.at(layout.data_dir).symlink_to(directory.name)
    prune(docker, layout, R3)
    assert (directory / "shop.sqlite3").exists()


def test_a_link_among_the_hashed_files_goes_as_they_do(docker, layout, make) -> None:
    make(R1, hours=1)
    link = docker.at(layout.assets_dir) / "old.css"
    link.symlink_to(docker.at(layout.record(R1)))
    os.utime(link, (1, 1), follow_symlinks=False)
    prune(docker, layout, R1)
    assert not link.is_symlink()
    assert docker.at(layout.record(R1)).exists()


def test_half_an_upload_goes_after_a_day(docker, layout, make) -> None:
    make(R1)
    folder = docker.at(layout.media_dir) / ".tmp"
    folder.mkdir()
    for name, hours in (("old.upload", 25), ("new.upload", 2)):
        (folder / name).write_text("half")
        aged(folder / name, hours)
    prune(docker, layout, R1)
    assert [path.name for path in folder.iterdir()] == ["new.upload"]


def test_a_database_directory_goes_unless_a_kept_release_names_it(
    docker, layout, make
) -> None:
    for name in (R1, R2, R3):
        make(name)
    for name in (R1, R2, R3):
        directory = docker.at(layout.home / f"data-{name}")
        directory.mkdir()
        (directory / "shop.sqlite3").write_text(name)
    mine = docker.at(layout.home / "data-of-last-year")
    mine.mkdir()
    live = docker.at(layout.home / f"data-{R1}")
    docker.at(layout.compose_env(R3)).write_text(f"STAGETOOLS_DATA={live}\n")
    prune(docker, layout, R3)
    left = {path.name for path in docker.at(layout.home).glob("data*")}
    assert left == {"data", f"data-{R1}", mine.name}


def test_uploads_go_unless_they_serve_or_media_leads_there(
    docker, layout, make
) -> None:
    for name in (R1, R2, R3):
        make(name)
        docker.at(layout.media_copy(name)).mkdir()
    for name in ("media-20260131-080000-replaced", "media-of-last-year"):
        docker.at(layout.home / name).mkdir()
    media = docker.at(layout.media_dir)
    media.rmdir()
    media.symlink_to(f"media-{R2}")
    own = docker.at(layout.media_copy(R3))
    docker.at(layout.compose_env(R3)).write_text(f"STAGETOOLS_MEDIA={own}\n")
    prune(docker, layout, R3)
    left = {path.name for path in docker.at(layout.home).glob("media*")}
    assert left == {"media", f"media-{R2}", f"media-{R3}", "media-of-last-year"}


def test_another_installations_images_are_never_named(docker, layout, make) -> None:
    make(R1)
    prune(docker, layout, R1)
    removed = [call for call in docker.said if call.startswith("docker image rm")]
    assert not removed
    assert "caddy:2" in images(docker)


def test_records_come_newest_first_with_the_size_of_their_images(
    at, docker, make
) -> None:
    for name in (R1, R2):
        make(name)
    make(R3, live=False)
    (docker.root / "images").write_text(f"shop_prod:{R2}\n")
    found = steps.known(at(docker))
    assert [(record.release, record.size) for record in found] == [
        (R2, 1000),
        (R1, 0),
    ]


def test_a_broken_record_is_left_out(at, docker, layout, make) -> None:
    make(R1)
    make(R2)
    docker.at(layout.record(R2)).write_text('{"release": ')
    assert [record.release for record in steps.known(at(docker))] == [R1]


def test_where_nothing_was_deployed_there_are_no_records(at, docker, layout) -> None:
    shutil.rmtree(docker.at(layout.releases_dir))
    assert steps.known(at(docker)) == []


def test_an_older_release_is_named_again_with_its_image(
    at, docker, layout, make
) -> None:
    make(R1)
    steps.duplicate(at(docker), R1, R2)
    assert f"shop_prod:{R2}" in images(docker)
    again = docker.at(layout.source(R2))
    assert (again / "manage.py").read_text() == R1
    assert docker.at(layout.manifest(R2)).read_text() == R1


def test_naming_again_goes_over_what_an_interruption_left(
    at, docker, layout, make
) -> None:
    make(R1)
    part = docker.at(f"{layout.source(R2)}.part")
    part.mkdir()
    (part / "half").write_text("")
    steps.duplicate(at(docker), R1, R2)
    assert [p.name for p in docker.at(layout.source(R2)).iterdir()] == ["manage.py"]
    assert not part.exists()
