"""Root's own copies of hashed static files, on real files with a docker that packs a folder."""

import json
import os
from pathlib import Path

import pytest

from stagetools.deploy.commands import releases, traffic
from stagetools.deploy.hashed import TYPES, Sent
from stagetools.errors import CommandFailed

R1, R2, R3 = (f"2026010{n}-120000-abcdef{n}" for n in range(1, 4))
STYLE, SCRIPT = "site/style.0123456789ab.css", "app.abcdefabcdef.js"
DOCKER = """
case "$*" in
  "cp c1:/srv/static -") tar -C "$(dirname "$said")/image" -cf - static ;;
  "image ls"*) ;;
esac
"""
SENT = Sent("0" * 64, "max-age=1", "img-src https://a.test/x; object-src 'none'")


@pytest.fixture
def image(machine):
    """What the container of the release has, with what is not for the proxy beside it."""
    machine.program("docker", DOCKER)
    folder = machine.root / "image" / "static"
    for name in (STYLE, f"{STYLE}.gz", SCRIPT, "site/style.css", ".git/x"):
        put(folder, name, name)
    put(folder, "old.0123456789ab.css", "named by no manifest")
    manifest(folder, STYLE, SCRIPT)
    return machine


def put(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def manifest(folder: Path, *names: str) -> None:
    paths = {name.replace(name.split(".")[-2] + ".", ""): name for name in names}
    put(folder, "staticfiles.json", json.dumps({"paths": paths, "version": "1.1"}))


def keep(machine, layout, release: str = R1, sent: Sent = SENT) -> None:
    machine.run(releases.keep_hashed(layout, release, "c1", sent))


def copies(machine, layout) -> set[str]:
    top = machine.at(layout.site_dir) / "static"
    return {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()}


def test_what_the_manifest_names_is_copied_with_its_compressed_copies(
    image, layout
) -> None:
    keep(image, layout)
    assert copies(image, layout) == {STYLE, f"{STYLE}.gz", SCRIPT}
    copy = image.at(layout.site_dir) / "static" / STYLE
    original = image.root / "image/static" / STYLE
    assert copy.read_text() == STYLE
    assert (copy.stat().st_mode & 0o7777, copy.stat().st_nlink) == (0o644, 1)
    assert copy.stat().st_mtime == pytest.approx(original.stat().st_mtime, abs=1)
    left = {path.name for path in image.at(layout.site_dir).iterdir()}
    assert left == {"run", "static", "static.of", "sent"}


@pytest.mark.parametrize("how", ["link", "pipe", "a link of a folder", "odd name"])
def test_nothing_but_plain_files_is_copied(image, layout, how: str) -> None:
    folder = image.root / "image" / "static"
    secret = image.root / "secret"
    put(secret, "x.0123456789ab.css", "another site's")
    names = [STYLE, "x.0123456789ab.css"]
    if how == "link":
        (folder / names[1]).symlink_to(secret / names[1])
    elif how == "pipe":
        os.mkfifo(folder / names[1])
    elif how == "a link of a folder":
        (folder / "deep").symlink_to(secret)
        names[1] = "deep/x.0123456789ab.css"
    else:
        names[1] = "../x y.0123456789ab.css"
    manifest(folder, *names)
    keep(image, layout)
    assert copies(image, layout) == {STYLE, f"{STYLE}.gz"}
    assert not [p for p in image.at(layout.site_dir).rglob("*") if p.is_symlink()]


def test_a_name_that_is_there_is_never_written_again(image, layout) -> None:
    """Browsers keep it for ten years; the next release brings what is new alone."""
    keep(image, layout)
    folder = image.root / "image" / "static"
    put(folder, STYLE, "made otherwise")
    put(folder, "b.111111111111.css", "new")
    manifest(folder, STYLE, "b.111111111111.css")
    keep(image, layout, R2)
    assert (image.at(layout.site_dir) / "static" / STYLE).read_text() == STYLE
    assert copies(image, layout) == {STYLE, f"{STYLE}.gz", SCRIPT, "b.111111111111.css"}


def test_the_same_manifest_is_not_fetched_again(image, layout) -> None:
    import hashlib

    content = (image.root / "image/static/staticfiles.json").read_bytes()
    same = Sent(hashlib.sha256(content).hexdigest(), "", "")
    keep(image, layout, R1, same)
    keep(image, layout, R2, same)
    assert image.said == ["docker cp c1:/srv/static -"]
    lists = image.at(layout.site_dir) / "static.of"
    assert (lists / R1).read_text() == (lists / R2).read_text()


def test_what_a_full_disk_has_lost_comes_again(image, layout) -> None:
    import hashlib

    content = (image.root / "image/static/staticfiles.json").read_bytes()
    same = Sent(hashlib.sha256(content).hexdigest(), "", "")
    keep(image, layout, R1, same)
    (image.at(layout.site_dir) / "static" / STYLE).unlink()
    keep(image, layout, R2, same)
    assert copies(image, layout) == {STYLE, f"{STYLE}.gz", SCRIPT}


def test_a_disk_without_room_for_them_is_left_alone(image, layout) -> None:
    image.program("df", "echo Avail; echo 1000")
    with pytest.raises(CommandFailed) as caught:
        keep(image, layout)
    assert "bytes free" in caught.value.output
    assert copies(image, layout) == set()


def test_a_list_that_a_full_disk_cuts_short_removes_nothing(image, layout) -> None:
    keep(image, layout)
    image.at(layout.source(R1)).mkdir()
    image.at(layout.record(R1)).write_text('{"origin": ""}')
    image.program("cat", 'echo "cat: no space left" >&2; exit 1')
    image.run(releases.prune(layout, serving=R1, keep=2, snapshots=1, cache="1GB"))
    assert copies(image, layout) == {STYLE, f"{STYLE}.gz", SCRIPT}


def test_too_much_is_refused_and_what_was_there_stays(image, layout) -> None:
    keep(image, layout)
    manifest(image.root / "image" / "static", STYLE)
    command = releases.keep_hashed(layout, R2, "c1", SENT)
    for most, words in ((str(releases._MOST_BYTES), "bytes"), (str(releases._MOST_FILES), "files")):  # fmt: skip
        small = type(command)(command.text.replace(f" {most} ", " 1 "))
        with pytest.raises(CommandFailed) as caught:
            image.run(small)
        assert f"more than 1 {words}" in caught.value.output.replace("static ", "")
    assert copies(image, layout) == {STYLE, f"{STYLE}.gz", SCRIPT}
    assert not (image.at(layout.site_dir) / "static.new").exists()


def test_the_two_headers_of_a_site_are_names(image, layout) -> None:
    keep(image, layout)
    keep(image, layout, R2, Sent("0" * 64, "", "a" * 500))
    (last,) = (image.at(layout.site_dir) / "sent").glob("*/*/*/*")
    assert last.is_file()
    parts = str(last.relative_to(image.at(layout.site_dir) / "sent")).split("/")
    assert parts == ["=", "=" + "a" * 240, "=" + "a" * 240, "=" + "a" * 20]
    assert SENT.names[1] == "img-src https:||a.test|x; object-src 'none'"


def test_what_one_release_sends_is_not_sent_for_another(image, layout) -> None:
    """Until the next one has said what it sends, it sends its files itself."""
    import socket

    keep(image, layout)
    place = image.at(layout.run_dir)
    os.chdir(place)  # a socket's path has 107 bytes at most
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{R2}.sock")
        image.run(traffic.switch(layout, R2), stdin=b"{}")
    assert not (image.at(layout.site_dir) / "sent").exists()
    assert STYLE in copies(image, layout)


def test_copies_that_no_kept_release_names_go(image, layout) -> None:
    folder = image.root / "image" / "static"
    for number, release in enumerate((R1, R2, R3)):
        name = f"deep/{number}/a.{number}23456789abc.css"
        put(folder, name, name)
        manifest(folder, STYLE, name)
        keep(image, layout, release)
        image.at(layout.source(release)).mkdir()
        image.at(layout.record(release)).write_text('{"origin": ""}')
    command = releases.prune(layout, serving=R3, keep=2, snapshots=1, cache="1GB")
    image.run(command)
    assert copies(image, layout) == {
        *(STYLE, f"{STYLE}.gz"),
        *("deep/1/a.123456789abc.css", "deep/2/a.223456789abc.css"),
    }
    assert not (image.at(layout.site_dir) / "static/deep/0").exists()


def test_a_prune_without_copies_or_with_a_first_one_ends_well(image, layout) -> None:
    image.run(releases.prune(layout, serving="", keep=2, snapshots=1, cache="1GB"))
    assert not (image.at(layout.site_dir) / "static").exists()


def test_the_proxy_has_the_same_kinds() -> None:
    import re

    text = (Path(releases.__file__).parents[1] / "proxy" / "Caddyfile").read_text()
    table = text.partition("{type} {")[2].partition("default")[0]
    found = dict(re.findall(r"^\s*(\w+) `?([^`\n]+)`?$", table, re.MULTILINE))
    assert found == TYPES
