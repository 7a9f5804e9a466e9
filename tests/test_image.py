"""What runs while an image is built: the check of SQLite, hashing and its cache."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stagetools.image import static
from stagetools.image.sqlite import has_wal_reset_bug

STATIC = Path(__file__).parents[1] / "stagetools/image/static.py"


@pytest.mark.parametrize(
    ("version", "bug"),
    [
        ((3, 6, 23), False),  # no WAL yet
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 44, 9), False),
        ((3, 45, 0), True),
        ((3, 46, 1), True),  # Debian 13's own
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 0), True),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
        ((4, 0, 0), False),
    ],
)
def test_the_versions_that_can_corrupt_a_database(
    version: tuple[int, int, int], *, bug: bool
) -> None:
    assert has_wal_reset_bug(version) is bug


CSS = (
    "body { background: url(img/dot.svg) }\n"
    + "/* long enough to be compressed */\n" * 99
)


class Build:
    """A directory of collected files, and the cache of earlier builds."""

    def __init__(self, root: Path) -> None:
        self.root, self.cache = root / "static", root / "cache"
        self.cache.mkdir()

    def collect(self, **files: str) -> None:
        for name, content in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    def hash(self) -> subprocess.CompletedProcess[str]:
        """As its stage of the image does, in a Python that has not one line of the project."""
        return subprocess.run(
            [sys.executable, STATIC, self.root, self.cache],
            cwd=self.root, capture_output=True, text=True, check=False,
        )  # fmt: skip

    @property
    def manifest(self) -> dict[str, str]:
        loaded: dict[str, str] = json.loads(
            (self.root / "staticfiles.json").read_text()
        )["paths"]
        return loaded


@pytest.fixture
def build(tmp_path: Path) -> Build:
    build = Build(tmp_path)
    build.collect(**{"site.css": CSS, "img/dot.svg": "<svg/>"})
    return build


def test_files_are_hashed_compressed_and_refer_to_each_other_so(build: Build) -> None:
    done = build.hash()
    assert done.returncode == 0, done.stderr
    css = build.root / build.manifest["site.css"]
    assert re.fullmatch(r"site\.[0-9a-f]{12}\.css", css.name)
    assert build.manifest["img/dot.svg"] in css.read_text()
    assert css.with_name(f"{css.name}.gz").exists()
    assert css.with_name(f"{css.name}.br").exists()


def test_a_second_build_compresses_nothing_again(build: Build, tmp_path: Path) -> None:
    """The cache goes by content: marks in it turn up in the next image."""
    assert build.hash().returncode == 0
    kept = [path for path in build.cache.rglob("*") if path.is_file()]
    assert kept
    for path in kept:
        path.write_bytes(b"from the cache")
    again = Build.__new__(Build)
    again.root, again.cache = tmp_path / "again", build.cache
    again.collect(**{"other.css": CSS, "img/dot.svg": "<svg/>"})
    assert again.hash().returncode == 0
    css = again.root / again.manifest["other.css"]
    assert css.with_name(f"{css.name}.br").read_bytes() == b"from the cache"


BAD = {
    "bad.css": "body { background: url(img/none.svg) } a { background: url(../../x.png) }",
    "worse.css": "body { background: url(gone.svg) } a { background: url(img/dot.svg) }",
    "lib.js": "1\n//# sourceMappingURL=lib.js.map\n",
}


def test_references_to_what_is_missing_fail_the_build_and_are_told_at_once(
    build: Build,
) -> None:
    build.collect(**BAD)
    (build.root / "latin.css").write_bytes(b"a { content: '\xe9' }")
    done = build.hash()
    assert done.returncode != 0
    assert done.stderr.splitlines() == [
        "Static files refer to what is not there:",
        "    bad.css: ../../x.png",
        "    bad.css: img/none.svg",
        "    worse.css: gone.svg",
        "Add each file, or remove the reference.",
        "Static files are not UTF-8, so no reference in them can be hashed:",
        "    latin.css",
        "Save each as UTF-8, or remove it.",
    ]


def test_a_file_that_is_not_utf8_alone_is_not_said_to_refer_to_anything() -> None:
    with pytest.raises(SystemExit) as ended:
        static._tell(["latin.css"], [], is_lenient=False)
    assert "not there" not in str(ended.value)


def test_a_source_map_that_is_missing_is_told_and_ends_no_build(build: Build) -> None:
    build.collect(**{"lib.js": BAD["lib.js"]})
    done = build.hash()
    assert done.returncode == 0, done.stderr
    assert "    lib.js: lib.js.map" in done.stdout


def test_where_nothing_was_strict_before_what_is_missing_ends_no_build(
    build: Build,
) -> None:
    build.collect(**BAD, **{".lenient": ""})
    latin = b"a { content: '\xe9' }"
    (build.root / "latin.css").write_bytes(latin)
    done = build.hash()
    assert done.returncode == 0, done.stderr
    assert not (build.root / ".lenient").exists()
    assert (build.root / "latin.css").read_bytes() == latin
    assert "latin.css" not in build.manifest
    for row in ("bad.css: img/none.svg", "worse.css: gone.svg", "latin.css"):
        assert f"    {row}" in done.stdout
    hashed = (build.root / build.manifest["worse.css"]).read_text()
    assert build.manifest["img/dot.svg"] in hashed
    assert "url(gone.svg)" in hashed
