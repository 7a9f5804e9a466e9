"""What a deploy uploads, and what it never does."""

import io
import os
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagetools.deploy.tree import Entry, Manifest, archive, read_tree
from stagetools.errors import ConfigError, StageError

GIT = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.com"]
NON_UTF8 = os.fsdecode(b"caf\xe9.txt")


def write(root: Path, **files: str) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


def git(root: Path, *words: str) -> None:
    subprocess.run([*GIT, *words], cwd=root, check=True, capture_output=True)


@pytest.fixture(params=["a repository", "no repository yet"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "a repository":
        git(tmp_path, "init", "--quiet")
    return tmp_path


def paths(root: Path) -> list[str]:
    return [entry.path for entry in read_tree(root).entries]


def test_what_git_ignores_stays_here(root: Path) -> None:
    write(
        root, **{".gitignore": "*.log\n/data/\n", "a.py": "", "x.log": "", "data/f": ""}
    )
    write(
        root, **{"b/.gitignore": "!keep.log\nlocal\n", "b/keep.log": "", "b/local": ""}
    )
    assert paths(root) == [".gitignore", "a.py", "b/.gitignore", "b/keep.log"]


def test_a_folder_of_a_larger_repository_follows_its_rules(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    site = tmp_path / "sites" / "shop"
    write(tmp_path, **{".gitignore": "*.log\nsecrets/\n/demo/\n", "outside.py": ""})
    write(site, **{"a.py": "", "x.log": "", "secrets/token": ""})
    assert paths(site) == ["a.py"]
    git(tmp_path, "add", "--all")
    assert paths(site) == ["a.py"]


def test_a_folder_that_a_larger_repository_ignores_is_on_its_own(
    tmp_path: Path,
) -> None:
    git(tmp_path, "init", "--quiet")
    demo = tmp_path / "demo"
    write(tmp_path, **{".gitignore": "/demo/\n"})
    write(demo, **{".gitignore": "*.log\n", "a.py": "", "x.log": ""})
    assert paths(demo) == [".gitignore", "a.py"]


KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\n"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\n"
SECRETS = dict.fromkeys([".env", ".env.local", "deploy/.env"], "SECRET=1")
KEYS = {
    **dict.fromkeys(["tls.key", "a/server.pem", "id_rsa", "id_ed25519"], KEY),
    **dict.fromkeys(["c.p12", "c.pfx", "d.jks"], "binary"),
    **{"both.pem": CERTIFICATE + KEY, "deploy_key": f"\n{KEY}", "a.ppk": "PuTTY-User-Key-File-3"},
}  # fmt: skip
DATABASES = dict.fromkeys(
    [
        "db.sqlite3",
        "data/shop.sqlite3-wal",
        "x.sqlite",
        "x.db",
        "x.db-journal",
    ],
    "x",
)
INNOCENT = {
    **dict.fromkeys([".env.example", "env.py", "keys.py", "words.key", "id_rsa.py"], "x"),
    **{"ca.pem": CERTIFICATE, "id_ed25519.pub": "ssh-ed25519 AAAA", "test_keys.py": f"K = '{KEY}'"},
}  # fmt: skip


def reasons(root: Path) -> dict[str, str]:
    return {left.path: left.why for left in read_tree(root).left_out}


def test_secrets_databases_and_keys_never_travel(root: Path) -> None:
    write(root, **SECRETS, **KEYS, **DATABASES, **INNOCENT)
    assert paths(root) == sorted(INNOCENT)
    why = reasons(root)
    assert why.keys() == SECRETS.keys() | KEYS.keys() | DATABASES.keys()
    assert {why[path] for path in KEYS} == {"it contains a private key"}
    assert {why[path] for path in DATABASES} == {"a database that git does not track"}
    assert all("inv env.set" in why[path] for path in SECRETS)


def test_what_somebody_committed_travels_but_for_secrets_and_keys(
    tmp_path: Path,
) -> None:
    write(tmp_path, **SECRETS, **KEYS, **DATABASES, **INNOCENT)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--force", ".")
    assert paths(tmp_path) == sorted([*DATABASES, *INNOCENT])
    assert reasons(tmp_path).keys() == SECRETS.keys() | KEYS.keys()


def test_what_deploy_toml_names_travels_although_it_looks_like_a_secret(
    tmp_path: Path,
) -> None:
    git(tmp_path, "init", "--quiet")
    write(tmp_path, **SECRETS, **KEYS, **DATABASES)
    tree = read_tree(tmp_path, ["a/*.pem", ".env.local", "x.db", "c.p12"])
    there = [".env.local", "a/server.pem", "c.p12", "x.db"]
    assert [entry.path for entry in tree.entries] == there
    assert not {left.path for left in tree.left_out} & set(there)
    assert {left.path for left in tree.left_out} >= {".env", "both.pem", "d.jks"}


def test_a_pattern_lets_out_no_more_than_it_says(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    near = ["a/server.pem", "b/.hidden/ca.pem"]
    far = ["a/ca/server.pem", "a/.ca.pem", "a/.env.live", "a/.env", ".env.live"]
    databases = ["a/dev.db", "live.db", "a/.env.db"]
    write(tmp_path, **dict.fromkeys([*near, *far, *databases], KEY))
    patterns = ["a/*", "*.pem", "*.db", "a/*.db", ".env*", "a/.env*", "b/.hidden/*.pem"]
    assert [entry.path for entry in read_tree(tmp_path, patterns).entries] == near


def test_no_env_file_of_any_folder_comes_into_the_image() -> None:
    template = Path(__file__).parents[1] / "template"
    assert "**/.env*" in (template / ".dockerignore").read_text().splitlines()


def test_a_pointer_of_git_lfs_is_no_file(root: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n"
    write(root, **{"logo.png": pointer, "notes.md": f"It reads:\n{pointer}"})
    with pytest.raises(
        ConfigError, match=r"logo\.png is a pointer of Git LFS"
    ) as caught:
        read_tree(root)
    assert "git lfs pull" in caught.value.remedy
    (root / "logo.png").unlink()
    assert paths(root) == ["notes.md"]


def test_what_git_ignores_is_not_named(root: Path) -> None:
    write(root, **{".gitignore": "*.sqlite3\n.env\n", "db.sqlite3": "", ".env": ""})
    assert reasons(root) == {}


# --- submodules and nested repositories ---------------------------------------------------


@pytest.fixture
def with_submodule(tmp_path: Path) -> Path:
    """A repository with a submodule that has a submodule."""
    for name in ("inner", "outer", "site"):
        write(tmp_path / name, **{"a.py": name, "x.log": "", ".gitignore": "*.log\n"})
        git(tmp_path / name, "init", "--quiet")
        if name != "inner":
            module = tmp_path / ("inner" if name == "outer" else "outer")
            add = ["submodule", "add", "--quiet", str(module), "lib/sub"]
            git(tmp_path / name, "-c", "protocol.file.allow=always", *add)
        git(tmp_path / name, "add", ".")
        git(tmp_path / name, "commit", "--quiet", "--message=all")
    return tmp_path / "site"


def test_submodules_travel_with_all_that_they_track(with_submodule: Path) -> None:
    update = ["submodule", "update", "--quiet", "--init", "--recursive"]
    git(with_submodule, "-c", "protocol.file.allow=always", *update)
    write(with_submodule, **{"lib/sub/new.py": "", "lib/sub/new.log": ""})
    below = [".gitignore", ".gitmodules", "a.py", "lib/sub/.gitignore"]
    below += ["lib/sub/.gitmodules", "lib/sub/a.py", "lib/sub/lib/sub/.gitignore"]
    below += ["lib/sub/lib/sub/a.py", "lib/sub/new.py"]
    assert paths(with_submodule) == below
    assert reasons(with_submodule) == {}


def test_a_submodule_whose_files_are_not_here_stops_everything(
    with_submodule: Path,
) -> None:
    with pytest.raises(ConfigError, match="lib/sub/lib/sub is a submodule") as caught:
        read_tree(with_submodule)
    assert "git submodule update --init --recursive" in caught.value.remedy


def test_a_repository_in_the_repository_is_named(root: Path) -> None:
    write(root, **{"a": "", "vendor/lib/b": ""})
    git(root / "vendor" / "lib", "init", "--quiet")
    git(root / "vendor" / "lib", "add", ".")
    assert paths(root) == ["a"]
    assert "git submodule add" in reasons(root)["vendor/lib/"]


def test_a_file_that_cannot_be_read_is_said(root: Path, monkeypatch) -> None:
    def refused(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    write(root, a="1")
    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(ConfigError, match="a cannot be read: Permission denied"):
        read_tree(root)


def test_an_ignored_file_that_is_tracked_travels(tmp_path: Path) -> None:
    write(tmp_path, **{".gitignore": "*.css\n", "built.css": "", "other.css": ""})
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--force", "built.css")
    assert paths(tmp_path) == [".gitignore", "built.css"]


def test_a_file_that_is_deleted_but_still_in_gits_index_is_left_out(
    tmp_path: Path,
) -> None:
    write(tmp_path, a="", b="")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    (tmp_path / "a").unlink()
    assert paths(tmp_path) == ["b"]


def test_a_file_that_became_a_folder_is_what_it_is_now(tmp_path: Path) -> None:
    write(tmp_path, a="")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    (tmp_path / "a").unlink()
    write(tmp_path, **{"a/b": ""})
    assert paths(tmp_path) == ["a/b"]


def test_the_working_tree_counts_and_not_the_last_commit(tmp_path: Path) -> None:
    write(tmp_path, a="committed")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message=a")
    before = read_tree(tmp_path)
    write(tmp_path, a="changed")
    assert read_tree(tmp_path).changed_since(before)


def test_no_repository_is_made_where_there_is_none(tmp_path: Path) -> None:
    write(tmp_path, a="")
    read_tree(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_link_is_a_link_even_to_nothing(root: Path) -> None:
    (root / "to").mkdir()
    for name, target in {"a": "to", "b": "nothing", "c": "../outside"}.items():
        (root / name).symlink_to(target)
    assert [(e.path, e.kind) for e in read_tree(root).entries] == [
        ("a", "l"),
        ("b", "l"),
        ("c", "l"),
    ]


def test_a_link_that_leads_elsewhere_is_a_change(root: Path) -> None:
    (root / "a").symlink_to("b")
    before = read_tree(root)
    (root / "a").unlink()
    (root / "a").symlink_to("c")
    assert [e.path for e in read_tree(root).changed_since(before)] == ["a"]


def test_the_run_bit_is_a_change_and_other_modes_are_none(root: Path) -> None:
    write(root, a="1")
    before = read_tree(root)
    (root / "a").chmod(0o600)
    assert read_tree(root) == before
    (root / "a").chmod(0o755)
    assert [e.kind for e in read_tree(root).changed_since(before)] == ["x"]


def test_names_in_any_script_are_kept(root: Path) -> None:
    names = sorted(
        ["größe.txt", "日本語", "e\u0301", "a b", "it's", "a\u2028b", NON_UTF8]
    )
    write(root, **dict.fromkeys(names, ""))
    assert paths(root) == names


def test_a_name_that_would_forge_a_line_is_refused(root: Path) -> None:
    write(root, **{"a\nb": ""})
    with pytest.raises(ConfigError, match="line break"):
        read_tree(root)


def test_a_folder_without_git_on_the_machine_is_told(root: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match="git is not installed"):
        read_tree(root)


def test_a_repository_that_git_refuses_is_told_in_gits_words(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("nonsense")
    with pytest.raises(ConfigError, match=r"git failed: .*invalid gitfile"):
        read_tree(tmp_path)


# --- the manifest -------------------------------------------------------------------------

NAMES = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufffd"),
    min_size=1,
)
ENTRIES = st.builds(
    Entry, NAMES, st.sampled_from("fxl"), st.text("0123456789abcdef", min_size=64, max_size=64)
)  # fmt: skip
MANIFESTS = st.lists(ENTRIES, unique_by=lambda e: e.path).map(
    lambda entries: Manifest(tuple(sorted(entries)))
)


@given(MANIFESTS)
@settings(max_examples=60, deadline=None)
def test_a_manifest_is_read_as_it_was_written(manifest: Manifest) -> None:
    assert Manifest.parse(manifest.text) == manifest
    assert Manifest.parse(manifest.text).digest == manifest.digest


@given(MANIFESTS, MANIFESTS)
@settings(max_examples=60, deadline=None)
def test_what_changed_and_what_went_make_one_manifest_of_another(
    old: Manifest, new: Manifest
) -> None:
    after = {entry.path: entry for entry in old.entries}
    for path in new.removed_since(old):
        del after[path]
    after |= {entry.path: entry for entry in new.changed_since(old)}
    assert Manifest(tuple(sorted(after.values()))) == new


@pytest.mark.parametrize(
    "text", ["", "nonsense\n", "a b c\nhalf\n", "d f caf\ufffd.txt\n"]
)
def test_what_is_no_manifest_is_an_empty_one(text: str) -> None:
    assert Manifest.parse(text) == Manifest(())


# --- the archive --------------------------------------------------------------------------


def members(root: Path) -> list[tarfile.TarInfo]:
    content = archive(root, read_tree(root).entries)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return tar.getmembers()


def test_the_same_files_are_the_same_bytes_at_any_time(root: Path, monkeypatch) -> None:
    """What has arrived of an archive is known again by its hash."""
    write(root, a="1", b="2")
    (root / "c").symlink_to("a")
    first = archive(root, read_tree(root).entries)
    os.utime(root / "a", (0, 0))
    monkeypatch.setattr(time, "time", lambda: 1e9)
    assert archive(root, read_tree(root).entries) == first


def test_no_owner_and_no_mode_but_the_run_bit_travels(root: Path) -> None:
    write(root, a="1", b="2")
    (root / "a").chmod(0o600)
    (root / "b").chmod(0o700)
    assert [(m.name, m.mode, m.uid, m.uname) for m in members(root)] == [
        ("a", 0o644, 0, ""),
        ("b", 0o755, 0, ""),
    ]


def test_a_link_travels_as_a_link(root: Path) -> None:
    (root / "a").symlink_to("nothing")
    (member,) = members(root)
    assert (member.issym(), member.linkname) == (True, "nothing")


def test_a_file_that_changes_while_it_is_read_stops_the_upload(root: Path) -> None:
    write(root, a="1")
    tree = read_tree(root)
    write(root, a="2")
    with pytest.raises(StageError, match="a changed while it was read") as caught:
        archive(root, tree.entries)
    assert caught.value.untouched == "Nothing was uploaded."
    assert caught.value.remedy
