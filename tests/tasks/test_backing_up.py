"""`inv backup` and `inv backups` on a server in memory."""

import io
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stagetools.deploy.backups import parse_watch
from stagetools.deploy.limits import DISK, Disk
from stagetools.deploy.tasks.backups import backing_up, local
from stagetools.errors import StageError, UsageError
from tests.steps.scripted import failure
from tests.steps.world import Scene
from tests.tasks.test_restoring import LISTED

MADE = "made=5c1438aa database=4096 rows=2 media=5 added=99\n"
THERE = "now=1000\nsince=900\n"


@pytest.fixture
def desk(layout, config, deployed) -> Callable[..., Scene]:
    def desk(*, facts: Any = None, **said: Any) -> Scene:
        answers = {
            "listed": LISTED,
            "make": MADE,
            "watch": THERE,
            "key": "k3y\n",
        } | said
        named = {f"backup.repository.{name}": one for name, one in answers.items()}
        named["backup.setup.install"] = "key\n"
        return Scene(layout, config, facts or deployed, answers=named)

    return desk


def test_a_backup_says_what_is_in_it(desk) -> None:
    scene = desk()
    backing_up.backup(scene.session)
    said = "5c1438aa: database 4.1 kB with 2 rows, uploads 5 bytes; 99 bytes of it new"
    assert f"✓ Backup: {said}" in scene.output.getvalue()
    assert scene.world.names == ["server.look", "backup.repository.make"]


def test_on_a_server_of_an_older_version_they_are_set_up_first(desk, ready) -> None:
    from tests.steps.conftest import OLD

    scene = desk(facts=replace(ready, release=OLD))
    backing_up.backup(scene.session)
    assert scene.steps == ["Backups", "Backup"]
    said = scene.output.getvalue()
    assert "they are made every day at " in said
    assert "k3y" not in said  # which a log of CI would show to others
    assert "inv backup --key prints it." in said


def test_where_nothing_serves_there_is_nothing_to_back_up(desk, ready) -> None:
    with pytest.raises(StageError, match="there is nothing to back up"):
        backing_up.backup(desk(facts=ready).session)


def test_every_backup_is_listed_with_what_it_is(desk) -> None:
    scene = desk()
    backing_up.backups(scene.session)
    rows = scene.output.getvalue().splitlines()
    assert rows[1].split() == [
        *(
            "5c1438aa",
            "2026-01-31",
            "02:17:03",
            "4.1",
            "kB",
            "by",
            "timer",
            "the",
            "server",
        )
    ]
    assert rows[2].split()[0] == "before-R2"
    assert "before a migration" in rows[2]


def test_the_latest_is_none_of_the_future_unless_there_is_no_other(desk) -> None:
    before, after = "now=1769826000\n", "now=5\n"  # of the one that is listed
    assert backing_up.named(desk().session, "latest").name == "5c1438aa"
    later = LISTED.replace("2026-01-31T02:17", "2031-01-31T02:17")
    later = later.replace("5c1438aa", "0badc10c")
    [one] = [line for line in LISTED.splitlines() if line.startswith("snapshots=[")]
    [other] = [line for line in later.splitlines() if line.startswith("snapshots=[")]
    both = f"{one.rstrip(']')}, {other.partition('[')[2]}\n"
    said = {"listed": before + both}
    assert backing_up.named(desk(**said).session, "latest").name == "5c1438aa"
    said = {"listed": after + both}
    assert backing_up.named(desk(**said).session, "latest").name == "0badc10c"


def test_status_tells_how_old_what_lies_elsewhere_is() -> None:
    said = parse_watch("now=9000\nsince=900\nbackup.good=8950\nelsewhere=8000\n")
    assert backing_up.rows(said)["backup"].startswith("50 s ago")
    assert "; elsewhere 16 min ago" in backing_up.rows(said)["backup"]
    put_back = replace(said, now=500)
    assert "dated in the future" in backing_up.rows(put_back)["backup"]
    assert "-" not in backing_up.rows(put_back)["backup"]


def test_what_cannot_be_listed_is_told(desk) -> None:
    scene = desk(listed=failure("Fatal: wrong password"))
    with pytest.raises(StageError, match="cannot be listed"):
        backing_up.backups(scene.session)


@pytest.mark.parametrize(
    "task", [backing_up.backups, backing_up.verify, backing_up.show_key]
)
def test_where_there_are_none_it_is_told(desk, task) -> None:
    with pytest.raises(StageError, match="has no backups on"):
        task(desk(watch="now=5\n").session)


# --- brought here -------------------------------------------------------------------------------

FILES = {
    "now/database.sqlite3": b"rows",
    "now/environment": b"SECRET_KEY=k",
    "home/shop_prod/media/a/cat.png": b"cat",
    "home/shop_prod/media/../../../../../out": b"out of it",
}


def tar(files: dict[str, bytes]) -> str:
    """As the server prints it, hostile names and links too."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("home/shop_prod/media/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return made.getvalue().decode("latin-1")


@pytest.mark.parametrize("part", ["..\\x.bat", "C:x", "a\nb"])
def test_some_names_lead_away_on_windows_alone(part: str) -> None:
    assert local.leads_away(part, on_windows=True)
    assert not local.leads_away(part, on_windows=False)
    assert local.leads_away("..", on_windows=False)
    assert not local.leads_away("cat.png", on_windows=True)


def test_a_backup_comes_as_plain_files_and_nothing_leads_out_of_them(
    desk, tmp_path
) -> None:
    scene = desk(dump=tar(FILES))
    local.download(scene.session, str(tmp_path / "new"), "latest")
    to = tmp_path / "new/shop_prod-20260131-021703-5c1438aa"
    found = {
        str(p.relative_to(to)): p.read_bytes() for p in to.rglob("*") if p.is_file()
    }
    assert found == {
        "database.sqlite3": b"rows", "environment": b"SECRET_KEY=k", "media/a/cat.png": b"cat",
    }  # fmt: skip
    assert (to / "environment").stat().st_mode & 0o077 == 0
    assert sorted(tmp_path.rglob("*out*")) == []
    with pytest.raises(UsageError, match="is there already"):
        local.download(scene.session, str(tmp_path / "new"), "latest")


def test_a_download_that_fails_leaves_nothing(desk, tmp_path) -> None:
    scene = desk(dump=failure("Fatal: pack damaged"))
    with pytest.raises(StageError):
        local.download(scene.session, str(tmp_path), "5c1438aa")
    assert list(Path(tmp_path).iterdir()) == []


def sparse(name: str, many: int) -> bytes:
    """A member that is all hole: a few hundred bytes, of so many."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo(name)
        member.pax_headers = {
            "GNU.sparse.map": f"{many},0", "GNU.sparse.size": str(many),
        }  # fmt: skip
        archive.addfile(member, io.BytesIO())
    return made.getvalue()


@pytest.mark.parametrize("what", ["stream", "hole"])
def test_more_than_was_announced_is_not_taken_here(
    desk, tmp_path, monkeypatch, what: str
) -> None:
    monkeypatch.setattr(local, "_NAMES", 10**5)
    monkeypatch.setattr(local, "DISK", Disk(reserve=0, margin=0))
    dump = tar({"now/database.sqlite3": bytes(10**6)})
    if what == "hole":
        dump = sparse("now/database.sqlite3", 10**12).decode("latin-1")
    with pytest.raises(StageError, match="more comes than the server had said"):
        local.download(desk(dump=dump).session, str(tmp_path), "latest")
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_here_is_not_asked_for(desk, tmp_path, monkeypatch) -> None:
    free = SimpleNamespace(free=DISK.reserve + 8000)  # a byte less than twice 4101
    monkeypatch.setattr(local.shutil, "disk_usage", lambda _: free)
    scene = desk(dump=tar(FILES))
    with pytest.raises(UsageError, match=r"5c1438aa may need 200\.0 MB here"):
        local.download(scene.session, str(tmp_path / "new"), "latest")
    assert "backup.repository.dump" not in scene.world.names
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_others_fill_meanwhile_keeps_its_reserve(
    desk, tmp_path, monkeypatch
) -> None:
    left = iter([10**12])
    monkeypatch.setattr(
        local.shutil, "disk_usage", lambda _: SimpleNamespace(free=next(left, 5))
    )
    with pytest.raises(StageError, match="cannot be written: No space left on device"):
        local.download(desk(dump=tar(FILES)).session, str(tmp_path), "latest")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["gz", "nothing"])
def test_what_is_no_plain_tar_file_is_no_backup(desk, tmp_path, kind: str) -> None:
    """A compressed one could become anything."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("now/environment"))
    dump = made.getvalue().decode("latin-1") if kind == "gz" else "x" * 2000
    with pytest.raises(StageError, match="what came is no backup"):
        local.download(desk(dump=dump).session, str(tmp_path), "latest")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("when", ["99999999999999999", "nan", "1e400"])
def test_a_file_from_no_year_hides_no_backup(desk, when: str) -> None:
    scene = desk(listed=LISTED.replace("1769700000.5", when))
    backing_up.backups(scene.session)
    assert "before-R2  1970-01-01" in scene.output.getvalue()
