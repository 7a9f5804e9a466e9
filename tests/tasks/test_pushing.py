"""`inv media.push`: which files go, and what is said of those that do not."""

import errno
import io
import os
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stagetools.deploy.tasks.backups import backing_up, pushing
from stagetools.errors import StageError, UsageError
from tests.steps.scripted import failure
from tests.steps.world import Scene

PUSH = "backup.repository.push"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a site has gathered on another machine."""
    media = tmp_path / "media"
    for name, content in {
        "a.txt": b"a" * 1000,
        "2024/b c.png": b"b" * 100_000,
        "2024/empty": b"",
        "2024/é/d": b"d" * 512,
        ".tmp/half": b"of an upload",
    }.items():
        (media / name).parent.mkdir(parents=True, exist_ok=True)
        (media / name).write_bytes(content)
    (media / "link").symlink_to("/etc/passwd")
    (media / "folder").symlink_to("2024")
    return media


@pytest.fixture
def desk(layout, config, deployed, monkeypatch) -> Callable[..., Scene]:
    monkeypatch.setattr(backing_up, "set_up", lambda session: None)

    def desk(said: Any = "uploads=3\n", **facts: Any) -> Scene:
        seen = replace(deployed, **facts)
        return Scene(layout, config, seen, answers={PUSH: said})

    return desk


def test_every_file_goes_as_it_is_and_no_link_does(desk, folder) -> None:
    scene = desk()
    pushing.push(scene.session, str(folder))
    with tarfile.open(fileobj=io.BytesIO(scene.world.sent[PUSH]), mode="r:") as tar:
        sent = {member.name: tar.extractfile(member).read() for member in tar}
    assert sent.pop(".tmp/whole") == b""  # the last: nothing was cut off
    names = ("2024/b c.png", "2024/empty", "2024/é/d", "a.txt")
    assert sent == {name: (folder / name).read_bytes() for name in names}
    said = scene.output.getvalue()
    assert "3 files added, of 101.5 kB in all; 1 were there already, and stay" in said
    assert "Left out: 2 links among the files." in said


def test_where_all_are_there_nothing_was_done(desk, folder) -> None:
    scene = desk("uploads=0\n")
    pushing.push(scene.session, str(folder))
    assert "= Push" in scene.output.getvalue()


@pytest.mark.parametrize("directory", ["", "nowhere", "empty"])
def test_a_directory_without_files_is_told_before_anything_is_asked(
    desk, tmp_path, monkeypatch, directory: str
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    scene = desk()
    with pytest.raises(UsageError, match="has no file to send"):
        pushing.push(scene.session, directory)
    assert scene.world.names == []


def test_a_folder_that_cannot_be_read_is_told_and_not_passed_over(
    desk, folder, monkeypatch
) -> None:
    real = os.scandir

    def scandir(path: Any) -> Any:  # root may read what it likes
        if str(path).endswith("2024"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    scene = desk()
    with pytest.raises(UsageError, match="2024 cannot be read: Permission denied"):
        pushing.push(scene.session, str(folder))
    assert scene.world.names == []


def test_whether_there_is_room_is_for_the_disk_of_the_uploads_to_say(
    desk, folder
) -> None:
    """`media` may be a link to another disk: what is free elsewhere says nothing."""
    scene = desk(disk_free=0)
    pushing.push(scene.session, str(folder))
    assert scene.world.of(PUSH)["total"] == 101_512


def test_a_file_that_cannot_be_read_whole_ends_it_in_words(desk, folder) -> None:
    """And what came until then is no whole tar file, which the server refuses."""
    names, _, _ = pushing.files_in(folder)
    (folder / "2024/b c.png").unlink()
    tar = pushing.Tar(folder, names)
    assert tar.read(9) == b""
    assert "b c.png cannot be read: No such file" in tar.wrong
    cut = desk(failure("rm: cannot remove 'whole'"))
    with pytest.raises(StageError, match="No such file") as caught:
        pushing._send(cut.session, pushing.Tar(folder, names), 0)
    assert "no upload of it was replaced or removed" in caught.value.untouched
    scene = desk(failure("tar: Unexpected EOF\nThe disk is full."))
    with pytest.raises(StageError, match="Push: The disk is full"):
        pushing._send(scene.session, pushing.Tar(folder, ["a.txt"]), 0)


def test_one_that_becomes_shorter_is_no_whole(folder, monkeypatch) -> None:
    tar = pushing.Tar(folder, ["2024/b c.png", "a.txt"])
    whole = tar.read(9) + tar.read(9)
    (folder / "2024/b c.png").write_bytes(b"")
    while piece := tar.read(9):
        whole += piece
    assert "became shorter meanwhile" in tar.wrong
    assert b"aaa" not in whole
    with (
        pytest.raises(tarfile.ReadError, match="unexpected end"),
        tarfile.open(fileobj=io.BytesIO(whole), mode="r:") as archive,
    ):
        [archive.extractfile(member).read() for member in archive]
