"""The server's side of an upload, run for real: the tree that arrives is the tree that left."""

import base64
import os
import stat
import time
from pathlib import Path

import pytest

from stagetools.deploy.commands import files
from stagetools.deploy.steps.source import Target, upload
from stagetools.deploy.tree import read_tree
from stagetools.errors import CommandFailed, ConnectionFailed
from tests.cases import one_fast

NON_UTF8 = os.fsdecode(b"caf\xe9.txt")
Tree = dict[str, str | tuple[str, ...]]
"""Content by path; `("x", content)` is executable, `("l", target)` a symbolic link."""


def lay_out(root: Path, tree: Tree) -> None:
    """Leave exactly this tree below `root`."""
    if root.exists():
        for path in sorted(root.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    for name, what in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind, content = what if isinstance(what, tuple) else ("f", what)
        if kind == "l":
            path.symlink_to(content)
            continue
        path.write_text(content)
        path.chmod(0o755 if kind == "x" else 0o644)


def found(root: Path) -> Tree:
    """What lies below `root`, in the same words."""
    tree: Tree = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if path.is_symlink():
            tree[name] = ("l", str(path.readlink()))
        elif path.is_file():
            run = path.stat().st_mode & stat.S_IXUSR
            tree[name] = ("x", path.read_text()) if run else path.read_text()
    return tree


@pytest.fixture
def send(at, machine, layout, tmp_path):
    """Upload a tree as a release, with the one before as its base; what the server has."""
    sent: list[str] = []

    def send(tree: Tree) -> Tree:
        root = tmp_path / "checkout"
        lay_out(root, tree)
        release = f"R{len(sent) + 1}"
        target = Target(release, base=sent[-1] if sent else "")
        sent.append(release)
        outcome = upload(
            at(machine), target, root, read_tree(root), "A=1\n", lambda *_: None
        )
        send.said = outcome.text
        return found(machine.at(layout.source(release)))

    return send


CHANGES: dict[str, tuple[Tree, Tree]] = {
    "an addition": ({"a": "1"}, {"a": "1", "b/c": "2"}),
    "a deletion": ({"a": "1", "b/c/d": "2", "b/e": "3"}, {"a": "1", "b/e": "3"}),
    "a change of the same size": ({"a": "1", "b": "x"}, {"a": "2", "b": "x"}),
    "a file that becomes a folder": ({"a": "1", "k": "k"}, {"a/b": "1", "k": "k"}),
    "a folder that becomes a file": ({"a/b/c": "1", "a/d": "2"}, {"a": "1"}),
    "a folder that becomes a link": ({"a/b": "1", "k": "k"}, {"a": ("l", "k"), "k": "k"}),
    "a link that becomes a folder": (
        {"a": ("l", "k"), "k/keep": "k"},
        {"a/b": "1", "k/keep": "k"},
    ),
    "a link that becomes a file": ({"a": ("l", "k"), "k": "k"}, {"a": "1", "k": "k"}),
    "a link that leads elsewhere": ({"a": ("l", "k")}, {"a": ("l", "../../no/where")}),
    "a run bit set": ({"a": "1", "k": "k"}, {"a": ("x", "1"), "k": "k"}),
    "a run bit taken": ({"a": ("x", "1"), "k": "k"}, {"a": "1", "k": "k"}),
    "a file that is renamed": ({"a": "1", "k": "k"}, {"z": "1", "k": "k"}),
    "an executable link and a link to nothing": (
        {"a": ("x", "1")},
        {"a": ("x", "1"), "b": ("l", "a"), "c": ("l", "nothing")},
    ),
    "names that a shell would read": (
        {"-rf": "1", "it's; $HOME `id`": "2", "a b/*": "3", " ": "4", "\\n": "5"},
        {"-rf": "6", "a b/*": "7", "\\n": "5"},
    ),
    "names in other scripts": (
        {"größe/日本語.txt": "1", "é": "2", "e\u0301": "3", "a\u2028b\x85c": "9"},
        {"größe/日本語.txt": "4", "e\u0301": "3", "a\u2028b\x85c": "9"},
    ),
    "everything at once": (
        {"a": "1", "b": "2", "c/d": ("l", "../a"), "e/f/g": ("x", "3")},
        {"h": "4"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after"), one_fast(reversed(CHANGES.values())))
def test_what_arrives_is_what_left(send, before: Tree, after: Tree) -> None:
    assert send(before) == before
    assert send(after) == after


def test_a_release_is_not_changed_by_the_next(send, machine, layout) -> None:
    """Its files are linked, not copied: whatever changes must be unlinked first."""
    before: Tree = {"a": "1", "b": ("x", "2"), "c": ("l", "a"), "d": "3"}
    send(before)
    send({"a": "9", "b": "2", "c": "no link", "e": "4"})
    assert found(machine.at(layout.source("R1"))) == before


def test_only_what_changed_is_sent(send) -> None:
    tree: Tree = {f"folder/{n}": f"content {n}" for n in range(20)}
    send(tree)
    send(tree | {"folder/7": "other"})
    assert send.said.startswith("1 of 20 files, ")


def test_a_name_that_is_not_utf8_travels_and_goes(send, machine) -> None:
    assert send({NON_UTF8: "1", "k": "k"}) == {NON_UTF8: "1", "k": "k"}
    assert send({NON_UTF8: "2", "k": "k"}) == {NON_UTF8: "2", "k": "k"}
    assert send({"k": "k"}) == {"k": "k"}


def test_no_empty_folder_is_left(send, machine, layout) -> None:
    send({"a/b/c": "1", "k": "k"})
    send({"k": "k"})
    assert not machine.at(layout.source("R2") / "a").exists()


def test_settings_and_manifest_lie_beside_the_release(send, machine, layout) -> None:
    send({"a": "1"})
    assert machine.at(layout.compose_env("R1")).read_text() == "A=1\n"
    assert machine.at(layout.manifest("R1")).read_text().endswith(" f a\n")


def test_the_manifest_is_the_trees_after_each_change(
    send, machine, layout, tmp_path
) -> None:
    trees: list[Tree] = [
        {"a": "1", "b c/d": "2", "e": ("l", "a"), NON_UTF8: "3"},
        {"a": "2", "b c/d": "2", "e": ("x", "a"), NON_UTF8: "3"},
        {"a": "2", "b c/d": "2", "e": ("x", "a"), NON_UTF8: "3"},
        {"b c/d": "2", "b": "4"},
    ]
    for number, tree in enumerate(trees, 1):
        send(tree)
        text = os.fsdecode(machine.at(layout.manifest(f"R{number}")).read_bytes())
        assert sorted(text.splitlines()) == sorted(
            read_tree(tmp_path / "checkout").text.splitlines()
        )


def test_modes_are_the_releases_and_not_the_developers(send, machine, layout) -> None:
    send({"a": "1", "b/c": ("x", "2")})
    source = machine.at(layout.source("R1"))
    assert stat.S_IMODE((source / "a").stat().st_mode) == 0o644
    assert stat.S_IMODE((source / "b/c").stat().st_mode) == 0o755
    assert (source / "b").stat().st_mode & 0o055 == 0o055  # the image's user reads it


@pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_upload_leaves_no_release(
    at, machine, layout, tmp_path, part
) -> None:
    root = tmp_path / "checkout"
    lay_out(root, {f"{n}": os.urandom(300).hex() for n in range(9)})
    whole: list[bytes] = []

    class Cut:
        def run(self, command, *, stdin=b"", **options: object) -> str:
            whole.append(stdin)
            return machine.run(command, stdin=stdin[: int(len(stdin) * part)])

    target = Target("R1", base="")
    with pytest.raises(CommandFailed):
        upload(at(Cut()), target, root, read_tree(root), "A=1\n", lambda *_: None)
    assert not machine.at(layout.source("R1")).exists()
    machine.run(files.receive_tree(layout, "R1", base=""), stdin=whole[0])
    assert len(found(machine.at(layout.source("R1")))) == 9
    assert not list(machine.at(layout.releases_dir).glob("*.part*"))


def test_half_an_upload_over_a_base_leaves_the_base_alone(
    send, machine, layout, tmp_path
) -> None:
    send({"a": "1", "b": "2"})
    command = files.receive_tree(layout, "R2", base="R1")
    done = machine.attempt(command, b"0 0 2\na\0 and no archive")
    assert done.returncode != 0
    assert not machine.at(layout.source("R2")).exists()
    assert found(machine.at(layout.source("R1"))) == {"a": "1", "b": "2"}


def test_a_base_that_is_no_manifest_is_not_built_upon(send, machine, layout) -> None:
    """A file of the base that nobody listed would stay in every release after it."""
    send({"a": "1", "b": "2"})
    machine.at(layout.manifest("R1")).write_text("broken\n")
    assert send({"a": "1"}) == {"a": "1"}


@pytest.mark.parametrize(
    ("secrets", "said"),
    [
        ([], "1 of 1 files, "),
        ([".env"], "; left out: .env (secrets: inv env.set gives them to the server)"),
        ([".env", "b.db", "c.db", "d.db", "e.db"],
         "; c.db (a database that git does not track); and 2 more: inv check"),
    ],
)  # fmt: skip
def test_what_stays_here_is_named(send, secrets: list[str], said: str) -> None:
    send({"a": "1"} | dict.fromkeys(secrets, "x"))
    assert said in send.said
    assert ("left out" in send.said) == bool(secrets)


def test_all_files_carry_the_time_of_their_arrival(send, machine, layout) -> None:
    """BuildKit compares sizes and times: an older time would bring the older file back."""
    before = time.time()
    send({"a": "1", "b": "2"})
    for path in machine.at(layout.source("R1")).iterdir():
        assert before - 1 <= path.stat().st_mtime <= time.time() + 1


# --- an archive that takes its time -------------------------------------------------------

LARGE = {"a": "1", "noise": base64.b64encode(os.urandom(150_000)).decode()}


@pytest.fixture
def broken(machine, monkeypatch):
    """Let the connection be lost after so many bytes of the next upload."""

    def broken(count: int) -> None:
        run = machine.run

        def lose(command, *, stdin=b"", **options):
            if "receive_part" not in str(command.text) and len(stdin) < 64_000:
                return run(command, stdin=stdin, **options)
            run(command, stdin=stdin[:count])
            monkeypatch.setattr(machine, "run", run)
            raise ConnectionFailed("It was lost.")

        monkeypatch.setattr(machine, "run", lose)

    return broken


def sent_of(said: str) -> str:
    return said.partition("files, ")[2]


def test_a_large_upload_arrives_whole(send, machine, layout) -> None:
    assert send(LARGE) == LARGE
    assert "had arrived" not in send.said
    assert not machine.at(layout.incoming("x")).parent.exists()
    assert send(LARGE | {"a": "2"}) == LARGE | {"a": "2"}


def test_an_upload_that_was_cut_goes_on_where_it_stopped(send, broken) -> None:
    broken(100_000)
    with pytest.raises(ConnectionFailed):
        send(LARGE)
    assert send(LARGE) == LARGE
    assert "(100.0 kB had arrived before)" in send.said
    assert float(sent_of(send.said).split()[0]) < 60


def test_of_an_upload_of_something_else_nothing_stays(
    send,
    broken,
    machine,
) -> None:
    broken(100_000)
    with pytest.raises(ConnectionFailed):
        send(LARGE)
    other = LARGE | {"more": base64.b64encode(os.urandom(9000)).decode()}
    assert send(other) == other
    assert "had arrived" not in send.said


def test_an_upload_that_was_cut_takes_no_room_after_another_one(
    send, broken, machine, layout
) -> None:
    broken(100_000)
    with pytest.raises(ConnectionFailed):
        send(LARGE)
    assert machine.at(layout.incoming("x")).parent.exists()
    send({"a": "small"})
    assert not machine.at(layout.incoming("x")).parent.exists()


def test_what_a_power_cut_has_spoilt_is_sent_again(
    send, broken, machine, layout
) -> None:
    broken(100_000)
    with pytest.raises(ConnectionFailed):
        send(LARGE)
    (part,) = machine.at(layout.incoming("x")).parent.iterdir()
    part.write_bytes(part.read_bytes()[:50_000] + bytes(50_000))
    assert send(LARGE) == LARGE
    assert "had arrived" not in send.said


def test_what_is_not_what_was_sent_is_never_unpacked(machine, layout) -> None:
    part = machine.at(layout.incoming("0" * 64))
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x")
    with pytest.raises(CommandFailed) as caught:
        machine.run(files.receive_tree(layout, "R1", base="", digest="0" * 64))
    assert "not what was sent" in caught.value.output
    assert not machine.at(layout.source("R1")).exists()
    assert not part.exists()


def test_one_who_still_writes_to_an_archive_spoils_it_for_nobody(
    machine, layout
) -> None:
    """A client that was stopped in its upload and goes on while another one has begun."""
    machine.run(files.receive_part(layout, "d", have=0), stdin=b"abcdef")
    part = machine.at(layout.incoming("d"))
    with part.open("ab") as sleeper:
        machine.run(files.receive_part(layout, "d", have=4), stdin=b"EF")
        sleeper.write(b"late")
    assert part.read_bytes() == b"abcdEF"
