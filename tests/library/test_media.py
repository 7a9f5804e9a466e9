"""Uploads of a project that leaves them to its web server."""

import subprocess
import sys
from pathlib import Path

ASK = """
import sys
from django.conf import settings
settings.configure(MEDIA_URL="/media/", MEDIA_ROOT=sys.argv[1], ALLOWED_HOSTS=["*"])
from django.http import HttpResponse
from django.test import RequestFactory
from stagetools.media import MediaMiddleware
middleware = MediaMiddleware(lambda request: HttpResponse(status=404))
for path in sys.argv[2:]:
    print(middleware(RequestFactory().get(path)).status_code)
"""


def statuses(media: Path, *paths: str) -> list[str]:
    words = [sys.executable, "-c", ASK, media, *paths]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_an_upload_is_served_and_one_in_flight_is_not(tmp_path: Path) -> None:
    for name in ("a.png", ".tmp/b.upload", "photos/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("an upload")
    assert statuses(tmp_path, "/media/a.png", "/media/photos/c.png") == ["200", "200"]
    hidden = [
        "/media/.tmp/b.upload",
        "/media/photos/../.tmp/b.upload",
        "/media//.tmp/b.upload",
    ]
    assert statuses(tmp_path, *hidden) == ["404"] * 3
