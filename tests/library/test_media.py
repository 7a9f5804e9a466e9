"""Uploads, as `stagetools.media` serves them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ASK = """
import json
import sys
from django.conf import settings
url, root, *paths = sys.argv[1:]
settings.configure(MEDIA_URL=url, MEDIA_ROOT=root, ALLOWED_HOSTS=["*"], USE_I18N=False)
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpResponse
from django.test import RequestFactory
from stagetools.media import MediaMiddleware
try:
    middleware = MediaMiddleware(lambda request: HttpResponse(status=404))
except MiddlewareNotUsed:
    sys.exit("not used")
for path in paths:
    answer = middleware(RequestFactory().get(path))
    print(json.dumps({"status": answer.status_code, **answer.headers}))
"""


def ask(media: Path, *paths: str, url: str = "/media/") -> list[dict[str, str]]:
    words = [sys.executable, "-c", ASK, url, media, *paths]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def uploads(folder: Path, *names: str) -> list[str]:
    """These files, and the addresses under which a browser asks for them."""
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("<script>alert(document.domain)</script>")
    return [f"/media/{name}" for name in names]


def test_an_upload_is_served_and_one_in_flight_is_not(tmp_path: Path) -> None:
    paths = uploads(tmp_path, "a.png", "photos/c.png", ".tmp/b.upload")
    hidden = [
        "/media/.tmp/b.upload",
        "/media/photos/../.tmp/b.upload",
        "/media//.tmp/b.upload",
        "/media/../outside.png",
        "/media/%00",
        f"/media/{'a' * 300}",
        "/media/photos/",
    ]
    (tmp_path.parent / "outside.png").touch()
    answers = ask(tmp_path, *paths[:2], *hidden)
    assert [a["status"] for a in answers] == [200, 200, *[404] * len(hidden)]


def test_what_a_browser_would_run_is_neither_shown_nor_a_script(tmp_path: Path) -> None:
    active = ["a.html", "b.HTM", "c.xhtml", "d.xml", "e.js", "f.mjs", "g.xsl", "h.swf"]
    for answer in ask(tmp_path, *uploads(tmp_path, *active, "i.unknown", "j")):
        assert answer["Content-Type"] == "application/octet-stream"
        assert answer["Content-Disposition"] == "attachment"
        assert answer["X-Content-Type-Options"] == "nosniff"


def test_a_drawing_is_shown_on_a_page_and_is_no_page_itself(tmp_path: Path) -> None:
    (drawing,) = ask(tmp_path, *uploads(tmp_path, "a.svg"))
    assert drawing["Content-Type"] == "image/svg+xml"
    assert drawing["Content-Disposition"] == "attachment"
    assert "sandbox" in drawing["Content-Security-Policy"]


def test_pictures_sounds_films_and_papers_are_shown(tmp_path: Path) -> None:
    names = ["a.png", "b.jpg", "c.mp3", "d.mp4", "e.pdf", "f.txt"]
    for answer in ask(tmp_path, *uploads(tmp_path, *names)):
        assert "attachment" not in answer.get("Content-Disposition", "")
        assert answer["Content-Security-Policy"].startswith("default-src 'none'")


PART = """
import json, sys
from pathlib import Path
from django.conf import settings
settings.configure(MEDIA_URL="/media/", MEDIA_ROOT=sys.argv[1], ALLOWED_HOSTS=["*"], USE_I18N=False)
from django.middleware.gzip import GZipMiddleware
from django.test import RequestFactory
from stagetools.media import MediaMiddleware
class Theirs(GZipMiddleware): pass
middleware = Theirs(MediaMiddleware(None))
for headers in eval(sys.argv[2]):
    answer = middleware(RequestFactory().get("/media/a.bin", headers=headers))
    print(json.dumps({"status": answer.status_code, **answer.headers}))
"""


def parts(media: Path, *asked: dict[str, str]) -> list[dict[str, str]]:
    """Of an upload, where a class of the project's own compresses what it may."""
    words = [sys.executable, "-c", PART, str(media), repr(asked)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_part_is_not_compressed_whatever_the_middleware_is_called(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.bin").write_bytes(b"a" * 1000)
    asked = {"Range": "bytes=0-499", "Accept-Encoding": "gzip"}
    (part,) = parts(tmp_path, asked)
    assert part["status"] == 206
    assert part["Content-Encoding"] == "identity"
    assert part["Content-Length"] == "500"


def test_a_part_is_not_joined_to_what_came_compressed(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"a" * 1000)
    (whole,) = parts(tmp_path, {"Accept-Encoding": "gzip"})
    assert whole["Content-Encoding"] == "gzip"
    day = whole["Last-Modified"]
    asked = {"Range": "bytes=10-", "If-Range": day}
    encodings = ("gzip, deflate, br", "br", "identity;q=1, *;q=0", "")
    answers = parts(tmp_path, *({**asked, "Accept-Encoding": e} for e in encodings))
    assert [answer["status"] for answer in answers] == [200, 200, 206, 206]


def test_whatever_is_answered_of_an_upload_keeps_its_policy(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"a")
    day = "Fri, 01 Jan 2100 00:00:00 GMT"
    answers = parts(
        tmp_path,
        {"Range": "bytes=0-0"},
        {"Range": "bytes=5-"},
        {"If-Modified-Since": day},
    )
    assert [answer["status"] for answer in answers] == [206, 416, 304]
    for answer in answers:
        assert answer["Content-Security-Policy"].startswith("default-src 'none'")
        assert answer["X-Content-Type-Options"] == "nosniff"
    # a 304 says nothing of the kind: what it said would replace what came with the file
    dispositions = [answer.get("Content-Disposition") for answer in answers]
    assert dispositions == ["attachment", "attachment", None]


@pytest.mark.slow
def test_uploads_that_are_elsewhere_are_not_served_from_here(tmp_path: Path) -> None:
    for url in ("https://uploads.test/media/", "", "/"):
        words = [sys.executable, "-c", ASK, url, tmp_path]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.stderr.strip() == "not used", url
