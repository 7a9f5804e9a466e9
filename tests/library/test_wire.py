"""A production site over the wire: gunicorn on a unix socket, as the proxy sees it."""

import gzip
import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.library.sites import Server, Site

HOST = "shop.example.com"
HEADERS = {
    "strict-transport-security": "max-age=31536000",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
POLICY = ("default-src 'self'", "object-src 'none'", "frame-ancestors 'none'")


def stylesheet(site: Site) -> str:
    (file,) = (site.root / "static/shop").glob("site.*.css")
    return f"/static/shop/{file.name}"


def test_the_page_has_the_headers_that_protect_it(server: Server) -> None:
    status, headers, _ = server.get("/")
    assert status == 200
    assert {name: headers.get(name) for name in HEADERS} == HEADERS
    for part in POLICY:
        assert part in headers["content-security-policy"]
    cookie = headers["set-cookie"]
    assert "Secure" in cookie
    assert "SameSite=Lax" in cookie


@pytest.mark.parametrize("path", ["/missing/", "/fail/"])
def test_error_pages_have_them_too(server: Server, path: str) -> None:
    status, headers, body = server.get(path)
    assert status in (404, 500)
    assert {name: headers.get(name) for name in HEADERS} == HEADERS
    assert b"Traceback" not in body
    assert b"on purpose" not in body


def test_plain_http_is_sent_to_https(server: Server) -> None:
    status, headers, _ = server.get("/?a=1", X_Forwarded_Proto="http")
    assert (status, headers["location"]) == (301, f"https://{HOST}/?a=1")


def test_another_host_name_is_refused(server: Server) -> None:
    assert server.get("/", Host="other.example.com")[0] == 400


def test_the_health_check_answers_on_any_host_and_scheme(server: Server) -> None:
    status, headers, body = server.get(
        "/healthz", Host="10.0.0.7:8000", X_Forwarded_Proto="http"
    )
    assert (status, body) == (200, b"ok\n")
    assert headers["cache-control"] == "no-store"


def test_the_health_check_is_cheap_and_not_logged(server: Server) -> None:
    server.get("/healthz")
    seconds = []
    for _ in range(20):
        started = time.perf_counter()
        assert server.get("/healthz")[0] == 200
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.010  # a connection included; the least, for others work too
    assert "GET /healthz" not in server.log


def test_hashed_files_are_compressed_and_kept_for_good(
    server: Server, prepared: Site
) -> None:
    status, headers, body = server.get(stylesheet(prepared), Accept_Encoding="gzip")
    assert status == 200
    assert headers["cache-control"] == "max-age=315360000, public, immutable"
    assert headers["content-encoding"] == "gzip"
    assert b"color: #123" in gzip.decompress(body)


def test_files_without_a_hash_are_asked_for_again(server: Server) -> None:
    _, headers, _ = server.get("/static/shop/site.css")
    assert headers["cache-control"] == "max-age=60, public"


def test_a_form_is_stored_and_sqlite_is_in_wal_mode(ready: Site, gunicorn: Any) -> None:
    with ready.serving(*gunicorn) as running:
        said = [json.loads(running.get("/add/", "POST")[2]) for _ in range(3)]
    assert [answer["count"] for answer in said] == [1, 2, 3]
    # 2: a commit is on the disk before its visitor is told
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    assert wanted.items() <= said[0].items()


# --- who asked, and what is written about it --------------------------------------------


def line_of(server: Server, request_id: str) -> str:
    lines = [line for line in server.log.splitlines() if request_id in line]
    assert len(lines) == 1
    return lines[0]


def test_a_request_is_one_line_with_its_id(server: Server) -> None:
    _, headers, _ = server.get("/?token=hidden-one", X_Forwarded_For="203.0.113.9")
    line = line_of(server, headers["x-request-id"])
    assert re.search(
        r'INFO \w{16} stagetools.requests: "GET /" 200 \d+ms 203.0.113.9$', line
    )
    assert "hidden-one" not in server.log


def test_every_line_is_of_one_form_gunicorns_own_too(server: Server) -> None:
    server.get("/fail/")
    assert "stagetools" in server.log
    for line in server.log.splitlines():
        assert re.match(
            r"20\d\d-\d\d-\d\dT[\d:.]{12}Z [A-Z]+ (-|\w{16}) [\w.]+: ", line
        ), line


def test_an_id_from_outside_is_not_used(server: Server) -> None:
    _, headers, _ = server.get("/", X_Request_ID="made-up-id")
    assert headers["x-request-id"] != "made-up-id"
    assert "made-up-id" not in server.log


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("2001:db8::7", "2001:db8::7"),
        ("203.0.113.9, nonsense", ""),
        ("", ""),
    ],
)
def test_the_client_is_the_one_that_our_own_proxy_saw(
    server: Server, forwarded: str, address: str
) -> None:
    """A client may send the header itself; the proxy appends to it."""
    assert server.get("/slow/", X_Forwarded_For=forwarded)[2].decode() == address


def test_an_error_is_one_line_with_its_traceback(server: Server) -> None:
    _, headers, _ = server.get("/fail/")
    lines = [
        line for line in server.log.splitlines() if headers["x-request-id"] in line
    ]
    error, request = lines
    assert "ERROR" in error
    assert r"RuntimeError: on purpose\nwith two lines" in error
    assert '"GET /fail/" 500' in request


def test_static_files_do_not_hide_what_the_site_says(
    prepared: Site, server: Server
) -> None:
    _, there, _ = server.get(stylesheet(prepared))
    assert there["x-request-id"] not in server.log
    _, missing, _ = server.get("/static/missing.css")
    assert "INFO" in line_of(server, missing["x-request-id"])


def test_a_path_can_neither_forge_a_line_nor_steer_a_terminal(server: Server) -> None:
    _, headers, _ = server.get("/%0a2026-01-01%20INFO%20forged%1b%5b31m")
    line = line_of(server, headers["x-request-id"])
    assert r"\n2026-01-01 INFO forged\x1b[31m" in line
    assert "\x1b" not in server.log


# --- switching ----------------------------------------------------------------------------


def test_not_healthy_until_the_migrations_are_applied(
    production: Site, gunicorn: Any
) -> None:
    assert production.run("manage.py", "collectstatic", "-v0").returncode == 0
    with production.serving(*gunicorn, WEB_CONCURRENCY="1") as running:
        status, _, body = running.get("/healthz")
        assert status == 503
        assert b"migrations not applied" in body
        assert production.run("manage.py", "migrate", "-v0").returncode == 0
        assert running.get("/healthz")[0] == 200
        assert running.log.count("not healthy") == 1
        assert running.log.count('"GET /healthz" 503') == 1


def test_not_healthy_without_the_database(ready: Site, gunicorn: Any) -> None:
    """Seen at each check, and not only at the first."""
    with ready.serving(*gunicorn, WEB_CONCURRENCY="1") as running:
        assert running.get("/healthz")[0] == 200
        Path(ready.variables["DATABASE_PATH"]).write_bytes(b"no database" * 500)
        status, _, body = running.get("/healthz")
    assert status == 503
    assert b"the database cannot be read" in body


def test_a_first_page_without_its_template_refuses_the_release(
    ready: Site, gunicorn: Any
) -> None:
    """It is well by /healthz, and was served to visitors once."""
    ask = ("-m", "stagetools.probe", "--host", "shop.example.com", "--secure")
    with ready.serving(*gunicorn, WEB_CONCURRENCY="1") as running:
        done = ready.run(*ask, str(running.socket), "--page", "/")
        assert done.returncode == 0
        assert json.loads(done.stdout) == {
            "well": True,
            "said": "200",
            "database": "sqlite",
        }
    (ready.root / "shop/templates/home.html").unlink()
    with ready.serving(*gunicorn, WEB_CONCURRENCY="1") as running:
        assert ready.run(*ask, str(running.socket)).returncode == 0
        done = ready.run(*ask, str(running.socket), "--page", "/")
        assert done.returncode == 1
        assert '"said": "GET / answers 500"' in done.stdout
        assert "TemplateDoesNotExist" in running.log


def test_a_view_that_cannot_be_imported_fails_the_boot(
    ready: Site, gunicorn: Any
) -> None:
    ready.change("shop/views.py", "import time", "import time\nimport no_such_module")
    done = ready.run("-m", *gunicorn)
    assert done.returncode != 0
    assert "no_such_module" in done.stderr


def test_an_earlier_releases_stylesheet_is_still_served(
    ready: Site, gunicorn: Any
) -> None:
    (ready.root / "archive").mkdir()
    old = stylesheet(ready)
    with ready.serving(*gunicorn) as running:
        assert running.get(old)[0] == 200
    ready.change("shop/static/shop/site.css", "#123", "#456")
    assert (
        ready.run(
            "manage.py", "collectstatic", "-v0", "--clear", "--noinput"
        ).returncode
        == 0
    )
    new = stylesheet(ready)
    assert new != old
    with ready.serving(*gunicorn) as running:
        status, headers, body = running.get(old, Accept_Encoding="identity")
        assert (status, b"#123" in body) == (200, True)
        assert headers["cache-control"] == "max-age=315360000, public, immutable"
        assert b"#456" in running.get(new, Accept_Encoding="identity")[2]
        assert running.get("/static/staticfiles.json")[0] == 200
    assert not list((ready.root / "archive").rglob("staticfiles.json"))
    assert not list((ready.root / "archive").rglob("*.part"))


@pytest.mark.parametrize(
    "application",
    [(), ("-k", "asgi", "stagetools.asgi:application")],
    ids=["wsgi", "asgi"],
)
def test_requests_in_flight_are_finished_when_it_is_told_to_stop(
    ready: Site, gunicorn: tuple[str, ...], application: tuple[str, ...]
) -> None:
    answers: list[int] = []
    words = (*gunicorn[:-1], *application) if application else gunicorn

    def ask() -> None:
        answers.append(running.get("/slow/?seconds=1")[0])

    with ready.serving(*words) as running:
        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(0.3)
    thread.join()
    assert answers == [200]
