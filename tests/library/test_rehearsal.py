"""A release that is only tried: no mail leaves, and what it may not do is explained."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from stagetools.database.protocol import Failed, Plan, Reader, Ready, Unknown
from tests.cases import one_fast
from tests.library.sites import Site

MIGRATION = """
import errno, os, socket
from django.conf import settings
from django.core.mail import EmailMessage, send_mail
from django.core.mail.backends.smtp import EmailBackend
from django.db import migrations

def work(apps, schema_editor):
    {work}

class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [migrations.RunPython(work, work)]
"""
SEND = 'send_mail("Hello", "", "a@example.com", ["b@example.com"])'
SEND_BY_CLASS = (
    'EmailBackend(host="localhost", port=int(os.environ["EMAIL_PORT"]), username="",'
    ' password="", use_tls=False, use_ssl=False, timeout=5, ssl_keyfile="", ssl_certfile="")'
    '.send_messages([EmailMessage("Hello", "", "a@example.com", ["b@example.com"])])'
)
WRITE = 'raise OSError(errno.EROFS, "Read-only file system", str(settings.MEDIA_ROOT / "a.png"))'
WRITE_ELSEWHERE = 'raise OSError(errno.EROFS, "Read-only file system", "/app/a.png")'
CALL = 'socket.getaddrinfo("no-such-host.invalid", 80)'


@pytest.fixture
def shop(ready: Site) -> Site:
    (ready.root / "aaa_script_setup.py").write_text(
        "import django\nimport aaa_env_setup\ndjango.setup()\n"
    )
    return ready


def brings(site: Site, work: str) -> None:
    path = site.root / "shop/migrations/0002_work.py"
    path.write_text(MIGRATION.format(work=work))


def run(
    site: Site, *words: str, rehearsal: str = "1", **more: str
) -> subprocess.CompletedProcess[str]:
    return site.run(
        "-m", "stagetools.database", *words, STAGETOOLS_REHEARSAL=rehearsal, **more
    )


def said(done: subprocess.CompletedProcess[str]) -> Reader:
    reader = Reader()
    for line in done.stdout.splitlines():
        reader.take(line)
    return reader


def test_what_only_a_newer_version_knows_is_refused_in_words(shop: Site) -> None:
    """As a client says it that is newer than the image."""
    done = run(shop, "vacuum")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "This release does not know 'vacuum': it was made by an older version of the"
        " template.\n"
    )


@contextmanager
def mail_server() -> Iterator[socket.socket]:
    """One that hangs up on everybody."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.1)
        yield listening


@pytest.mark.parametrize("send", [SEND, SEND_BY_CLASS], ids=["settings", "class"])
def test_no_mail_leaves_a_rehearsal_whatever_the_settings_say(
    shop: Site, send: str
) -> None:
    brings(shop, send)
    with mail_server() as listening:
        port = str(listening.getsockname()[1])
        done = run(shop, "migrate", EMAIL_PORT=port)
        assert done.returncode == 0, done.stderr
        with pytest.raises(TimeoutError):
            listening.accept()


@pytest.mark.parametrize("send", one_fast([SEND, SEND_BY_CLASS]))
def test_mail_leaves_where_nothing_is_rehearsed(shop: Site, send: str) -> None:
    """So that the test above could fail."""
    brings(shop, send)
    with mail_server() as listening:
        port = str(listening.getsockname()[1])
        listening.settimeout(20)
        with subprocess.Popen(
            [shop.python, "-m", "stagetools.database", "migrate"],
            cwd=shop.root, env=shop.environment(EMAIL_PORT=port),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            peer, _ = listening.accept()
            peer.close()
            process.wait(timeout=60)


def test_a_served_release_that_is_only_tried_sends_none_either(shop: Site) -> None:
    code = (
        "import stagetools.{0}; from django.conf import settings as s;"
        "print(s.MAILERS if hasattr(s, 'MAILERS') else s.EMAIL_BACKEND)"
    )
    for entry in ("wsgi", "asgi"):
        done = shop.run("-c", code.format(entry), STAGETOOLS_REHEARSAL="1")
        assert "backends.dummy" in done.stdout
        assert "backends.smtp" in shop.run("-c", code.format(entry)).stdout


@pytest.mark.parametrize("command", ["migrate", "rehearse"])
def test_a_migration_that_writes_uploads_is_told_why_it_cannot(
    shop: Site, command: str
) -> None:
    brings(shop, WRITE)
    done = run(shop, command)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("in a management command after the deploy.")
    assert said(done).values[-1] == Failed(failed="shop.0002_work", atomic=True)
    assert "In a rehearsal" not in run(shop, command, rehearsal="").stderr


def test_what_could_never_be_written_is_not_put_down_to_the_rehearsal(
    shop: Site,
) -> None:
    brings(shop, WRITE_ELSEWHERE)
    assert "In a rehearsal" not in run(shop, "migrate").stderr


def test_a_migration_that_calls_somebody_is_told_that_there_is_no_network(
    shop: Site,
) -> None:
    brings(shop, CALL)
    assert "rehearsal_network = true" in run(shop, "migrate").stderr


def test_what_only_sqlite_can_do_is_refused_of_another_database(shop: Site) -> None:
    settings = shop.root / "stagetools_project/settings.py"
    engine = "shop.other"
    base = shop.root / "shop/other/base.py"
    base.parent.mkdir()
    (base.parent / "__init__.py").write_text("")
    base.write_text(
        "from django.db.backends.sqlite3 import base\n"
        "class DatabaseWrapper(base.DatabaseWrapper):\n    vendor = 'other'\n"
    )
    with settings.open("a") as file:
        file.write(f'\nDATABASES["default"]["ENGINE"] = "{engine}"\n')
    for words in (["rehearse"], ["snapshot", "before-1"], ["ready"]):
        done = run(shop, *words, rehearsal="")
        assert done.returncode == 1
        assert "The database is other: only SQLite's can be copied." in done.stderr
        assert "Traceback" not in done.stderr
    planned = said(run(shop, "plan", rehearsal="")).result(Plan)
    assert planned
    assert not planned.sqlite  # so a deploy asks for none of these
    code = (
        "import io, sys; sys.stdin = io.StringIO('[]');"
        "from stagetools.database.__main__ import main; main(['unknown'])"
    )
    to_undo = said(shop.run("-c", code)).result(Unknown)
    assert to_undo
    assert not to_undo.sqlite  # nor does a rollback
    assert run(shop, "migrate", rehearsal="").returncode == 0


def test_a_database_that_was_put_in_its_place_is_made_ready(shop: Site) -> None:
    ready = said(run(shop, "ready", rehearsal="")).result(Ready)
    assert ready
    assert "shop.0001_initial" in ready.migrations
    done = run(shop, "ready", rehearsal="", DATABASE_PATH=str(shop.root / "none"))
    assert done.returncode == 1
    assert "There is no database" in done.stderr
    assert not (shop.root / "none").exists()


def test_every_mailer_of_a_later_django_sends_none(monkeypatch) -> None:
    """Django 6.1 has MAILERS; here its settings are those of another version."""
    from types import SimpleNamespace

    from django.core.mail.backends import smtp

    from stagetools.web import rehearsal

    settings = SimpleNamespace(
        MAILERS={"default": {"BACKEND": "x", "OPTIONS": {"host": "y"}}, "news": {}}
    )
    monkeypatch.setenv("STAGETOOLS_REHEARSAL", "1")
    monkeypatch.setattr(rehearsal, "settings", settings)
    monkeypatch.setattr(rehearsal.django, "VERSION", (6, 1, 0, "final", 0))
    monkeypatch.setattr(smtp.EmailBackend, "send_messages", None)
    rehearsal.prepare()
    dummy = {"BACKEND": "django.core.mail.backends.dummy.EmailBackend"}
    assert vars(settings) == {"MAILERS": {"default": dummy, "news": dummy}}
