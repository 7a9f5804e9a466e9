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


@pytest.mark.slow
def test_uploads_that_are_elsewhere_are_not_served_from_here(tmp_path: Path) -> None:
    for url in ("https://uploads.test/media/", "", "/"):
        words = [sys.executable, "-c", ASK, url, tmp_path]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.stderr.strip() == "not used", url
