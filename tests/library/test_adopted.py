"""A project that somebody else wrote: its static files, settings and media in the image.

`theirs` has every habit that an issue told of; no line of it knows of stagetools.
"""

import gettext
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagetools.image import findings, source, translations, watching
from tests.library.sites import GUNICORN, LIBRARY, Server, Site, as_production

BUILD = (
    "import sys; from stagetools.image import source;"
    "source.has_wal_reset_bug = lambda version: False; source.main(sys.argv[1])"
)
FILES = {
    ".gitignore": ".env*\n/bundles/\n*.sqlite3*\n/logs/\nlocal_*.py\n",
    ".env": "KEY=1\n",
    "aaa_env_setup.py": """\
import os
from stagetools.utils import get_actual_system_from_name
SYSTEM = get_actual_system_from_name(core_repo="shop", core_app="theirs")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", SYSTEM.django_settings)
""",
    "manage.py": "from stagetools.manage import main\nmain()\n",
    "stagetools_project/__init__.py": "",
    "stagetools_project/settings.py": """\
from stagetools import settings_defaults_with_sqlite as defaults
from stagetools.adopted import adopt
from theirs.settings import *
adopt(globals(), defaults)
""",
    "theirs/__init__.py": "",
    "theirs/settings.py": """\
from pathlib import Path
BASE_DIR = Path(__file__).resolve().parent.parent
(BASE_DIR / "bundles").is_dir() and list((BASE_DIR / "bundles").iterdir())
KEYS = (BASE_DIR / ".env").read_text() if (BASE_DIR / ".env").exists() else ""
(BASE_DIR / "logs").mkdir(exist_ok=True)
INSTALLED_APPS = ["django.contrib.staticfiles", "theirs"]
MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware", "theirs.files.Files", "django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "theirs.urls"
WSGI_APPLICATION = "theirs.wsgi.application"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "x"},
             "old": {"ENGINE": "django.db.backends.sqlite3", "NAME": "y"}}
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "collected"
STATICFILES_DIRS = [BASE_DIR / "bundles"]
MEDIA_URL = "media/"
WHITENOISE_IMMUTABLE_FILE_TEST = r"/kept/"
from theirs.local_settings import *
""",
    "theirs/local_settings.py": "HERE = True\n",
    "theirs/files.py": """\
from whitenoise.middleware import WhiteNoiseMiddleware
class Files(WhiteNoiseMiddleware):
    def add_cache_headers(self, headers, path, url):
        super().add_cache_headers(headers, path, url)
        headers["X-Theirs"] = "yes"
""",
    "theirs/urls.py": """\
from django.conf import settings
from django.contrib.staticfiles.storage import staticfiles_storage
from django.shortcuts import render
from django.urls import path
ADDRESS = staticfiles_storage.url("theirs/site.css")
PICTURES = settings.STATIC_ROOT / "pictures"
urlpatterns = [path("", lambda request: render(request, "page.html"))]
""",
    "theirs/wsgi.py": """\
\ufeffimport os
from django.core.wsgi import get_wsgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "theirs.settings")
application = get_wsgi_application()
application = print
""",
    "theirs/templates/page.html": """\
{% load static %}{# {% static "theirs/old.css" %} #}
{% static "theirs/site.css" %}|{% static 'theirs/nowhere.js' %}|{% static "theirs/" %}
{% static "theirs/"|add:"a" %}{% static "theirs/b"|add:"c" %}
""",
    "theirs/static/theirs/site.css": "a { background: url(none.png) } b { background: url(dot.png) }\n",
    "theirs/static/theirs/dot.png": "dot",
    "theirs/static/theirs/kept/a.txt": "a",
    "theirs/static/theirs/lib.js": "1\n//# sourceMappingURL=lib.js.map\n",
    "theirs/locale/de/LC_MESSAGES/django.po": 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n\nmsgid "Heron"\nmsgstr "Reiher"\n',
    "bundles/app.js": "1\n",
}  # fmt: skip


@pytest.fixture(scope="session")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The project, as a build would find it and as the image then has it."""
    root = tmp_path_factory.mktemp("theirs") / "shop"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "stagetools").symlink_to(LIBRARY)
    subprocess.run(["git", "init", "--quiet", root], check=True)
    return as_production(Site(root))


@pytest.fixture(scope="session")
def built(theirs: Site) -> Site:
    """Once more, after what its image's build does."""
    done = theirs.run("-c", BUILD, str(theirs.root / "static"))
    assert done.returncode == 0, done.stderr
    cache = theirs.root.parent / "cache"
    cache.mkdir()
    words = (str(LIBRARY / "image/static.py"), str(theirs.root / "static"), str(cache))
    done = theirs.run_fresh(*words)
    assert done.returncode == 0, done.stderr
    done = theirs.run("manage.py", "migrate", "-v0")
    assert done.returncode == 0, done.stderr
    return theirs


@pytest.fixture(scope="session")
def served(built: Site) -> Iterator[Server]:
    media = built.root / "media"
    media.mkdir()
    (media / "film.mp4").write_bytes(bytes(range(200)))
    with built.serving(*GUNICORN, WEB_CONCURRENCY="1", MEDIA_ROOT=str(media)) as server:
        yield server


def manifest(site: Site) -> dict[str, str]:
    told = json.loads((site.root / "static/staticfiles.json").read_text())
    paths: dict[str, str] = told["paths"]
    return paths


# --- the image --------------------------------------------------------------------------


def test_a_project_that_asks_for_an_address_while_it_is_imported_is_built(
    built: Site,
) -> None:
    """Static files were said to be elsewhere after `django.setup()`, and STATIC_ROOT was a str."""
    assert not (built.root / "collected").exists()
    assert set(manifest(built)) == {
        *("theirs/site.css", "theirs/dot.png", "theirs/kept/a.txt", "theirs/lib.js"),
        "app.js",
    }


def test_a_reference_to_what_is_not_there_stays_and_the_others_are_hashed(
    built: Site,
) -> None:
    paths = manifest(built)
    css = (built.root / "static" / paths["theirs/site.css"]).read_text()
    assert "url(none.png)" in css
    assert re.search(r'url\("?dot\.[0-9a-f]{12}\.png"?\)', css)
    script = (built.root / "static" / paths["theirs/lib.js"]).read_text()
    assert "sourceMappingURL=lib.js.map" in script


def test_outside_of_an_image_they_are_collected_alike(
    built: Site, tmp_path: Path
) -> None:
    into = tmp_path / "static"
    done = built.run("manage.py", "collectstatic", "--into", str(into), "-v0")
    assert done.returncode == 0, done.stderr
    told = json.loads((into / "staticfiles.json").read_text())
    assert told["paths"] == manifest(built)


def test_translations_are_compiled_that_git_does_not_have(built: Site) -> None:
    (made,) = (built.root / "theirs/locale").rglob("*.mo")
    with made.open("rb") as file:
        assert gettext.GNUTranslations(file).gettext("Heron") == "Reiher"


# --- a server ---------------------------------------------------------------------------


def test_a_page_that_names_a_missing_file_is_shown(built: Site, served: Server) -> None:
    status, _, body = served.get("/")
    assert status == 200, served.log
    hashed = manifest(built)["theirs/site.css"]
    named = body.decode().strip().splitlines()[0].split("|")
    assert named == [
        f"/static/{hashed}",
        "/static/theirs/nowhere.js",
        "/static/theirs/",
    ]


def test_hashed_files_live_for_ever_and_so_do_those_of_the_projects_own_test(
    built: Site, served: Server
) -> None:
    for name in (manifest(built)["theirs/site.css"], "theirs/kept/a.txt"):
        assert "immutable" in served.get(f"/static/{name}")[1]["cache-control"], name
    assert "immutable" not in served.get("/static/theirs/dot.png")[1]["cache-control"]


def test_a_whitenoise_of_the_projects_own_is_what_ours_is_made_of(
    built: Site, served: Server
) -> None:
    assert served.get("/static/theirs/dot.png")[1]["x-theirs"] == "yes"
    rows = built.settings("MIDDLEWARE")["MIDDLEWARE"]
    assert "theirs.files.Files" not in rows
    assert "stagetools.static.StaticMiddleware" in rows


FILM = bytes(range(200))


@pytest.mark.parametrize(
    ("asked", "status", "said", "sent"),
    [
        ("bytes=0-1", 206, "bytes 0-1/200", FILM[:2]),
        ("bytes=190-", 206, "bytes 190-199/200", FILM[190:]),
        ("bytes=190-999", 206, "bytes 190-199/200", FILM[190:]),
        ("bytes=-3", 206, "bytes 197-199/200", FILM[197:]),
        ("bytes=-999", 206, "bytes 0-199/200", FILM),
        ("bytes=200-", 416, "bytes */200", b""),
        ("bytes=-0", 416, "bytes */200", b""),
        *((asked, 200, None, FILM) for asked in ("bytes=-", "bytes=5-1", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b")),
    ],
)  # fmt: skip
def test_an_upload_is_sent_in_parts(served: Server, asked, status, said, sent) -> None:
    answer, headers, body = served.get("/media/film.mp4", Range=asked)
    assert (answer, headers.get("content-range"), body) == (status, said, sent)
    assert headers["content-length"] == str(len(sent))
    assert headers["accept-ranges"] == "bytes"


def test_a_part_is_sent_as_it_is_where_the_project_compresses(served: Server) -> None:
    asked = {"Range": "bytes=0-1", "Accept_Encoding": "gzip"}
    status, headers, body = served.get("/media/film.mp4", **asked)
    assert (status, body) == (206, FILM[:2])
    assert headers["content-encoding"] == "identity"


def test_a_part_of_an_earlier_upload_is_not_joined_to_this_one(served: Server) -> None:
    day = served.get("/media/film.mp4")[1]["last-modified"]
    for since, status in ((day, 206), ("Thu, 01 Jan 1970 00:00:00 GMT", 200)):
        asked = {"Range": "bytes=0-1", "If_Range": since}
        assert served.get("/media/film.mp4", **asked)[0] == status


# --- what inv check says -----------------------------------------------------------------


@pytest.fixture(scope="session")
def said(theirs: Site, tmp_path_factory: pytest.TempPathFactory) -> str:
    """By what `inv check` runs, and a build would too."""
    into = tmp_path_factory.mktemp("said") / "static"
    done = theirs.run_fresh("-m", "stagetools.image.collecting", str(into))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "finding",
    [
        "theirs/settings.py:4 reads .env, which git ignores: the image lacks it",
        "theirs/settings.py:5 writes logs: on a server the project's folder cannot be written",
        "theirs/settings.py:3 reads bundles, which git ignores: the image lacks it",
        "theirs/local_settings.py is imported, which git ignores: the image lacks it",
        "static files that git ignores, so that the image lacks them: bundles/app.js",
        "theirs/templates/page.html names static files that are not there: theirs/nowhere.js\n",
        "theirs/wsgi.py:5 does more than start Django, and a server does not use it",
        "DATABASES has old besides default",
        "    theirs/lib.js: lib.js.map",
        "    theirs/site.css: none.png",
    ],
)
def test_check_says_what_will_be_otherwise_there(said: str, finding: str) -> None:
    assert finding in said


def test_check_says_nothing_else(said: str) -> None:
    assert len(re.findall("^! ", said, re.MULTILINE)) == 10, said


def test_a_project_of_ours_has_nothing_to_hear_of(site: Site, tmp_path: Path) -> None:
    done = site.run("-m", "stagetools.image.collecting", str(tmp_path / "static"))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def git(root: Path, *words: str) -> None:
    named = ("-c", "user.name=a", "-c", "user.email=a@b.test")
    subprocess.run(["git", *named, *words], cwd=root, check=True, capture_output=True)


def test_a_file_of_a_submodule_hides_no_finding(tmp_path: Path) -> None:
    """Git answers for none of the names where one of them is a submodule's."""
    (tmp_path / "lib/deep").mkdir(parents=True)
    for root in (tmp_path, tmp_path / "lib"):
        git(root, "init", "--quiet")
    git(tmp_path / "lib", "commit", "--quiet", "--allow-empty", "--message=a")
    git(tmp_path, "add", "lib")
    (tmp_path / ".gitignore").write_text(".env\n")
    names = ["lib/deep/a.css", "lib/a.css", "lib", ".env"]
    assert findings._ignored(tmp_path, names) == {".env"}


def test_a_folder_that_is_there_and_that_git_has_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "addaudithook", lambda hook: None)
    watch = watching.Watch(tmp_path)
    git(tmp_path, "init", "--quiet")
    (tmp_path / ".gitignore").write_text("*.log\n")
    for name in ("had/.gitkeep", "local/a.log"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    for name in ("had", "local", "new"):
        line = "note('os.mkdir', (path, 0o777, -1))"
        names = {"note": watch._note, "path": tmp_path / name}
        exec(compile(line, str(tmp_path / "settings.py"), "exec"), names)  # noqa: S102
    told = " ".join(what for what, _ in findings._unwritten(tmp_path, watch))
    assert re.findall(r"writes (\w+)", told) == ["local", "new"]


@pytest.mark.parametrize("is_strict", [True, False])
def test_a_name_with_a_slash_in_front_is_found_where_a_page_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_strict: bool
) -> None:
    """Where the manifest is strict, such a page is a 500."""
    page = tmp_path / "page.html"
    page.write_text("{% static '/css/site.css' %}")
    monkeypatch.setattr(findings, "_templates", lambda root: [page])
    found = findings._unnamed(tmp_path, {"css/site.css": ""}, is_strict=is_strict)
    assert bool(list(found)) is is_strict


def test_what_a_package_manager_has_put_beside_templates_is_none(
    tmp_path: Path,
) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / ".gitignore").write_text("/pages/built/\n")
    for name in ("node_modules/a/b.html", "built/c.html", "d.html"):
        (tmp_path / "pages" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pages" / name).touch()
    found = findings._own_files(tmp_path, [tmp_path / "pages"])
    assert found == [tmp_path / "pages/d.html"]


# --- manage.py, and the project's own steps ------------------------------------------------


def test_a_command_of_the_projects_own_is_not_hidden_by_ours(theirs: Site) -> None:
    command = theirs.root / "theirs/management/commands/compress.py"
    command.parent.mkdir(parents=True)
    command.write_text(
        "from django.core.management.base import BaseCommand\n"
        "class Command(BaseCommand):\n"
        "    def handle(self, **options):\n"
        "        print('theirs')\n"
    )
    done = theirs.run("manage.py", "compress")
    assert done.stdout == "theirs\n", done.stderr


# a bundle; and what django-compressor makes, which writes where files are collected
MAKE = """\
echo 1 >shop/static/made.js
mkdir -p "$STATIC_ROOT/CACHE" && echo 1 >"$STATIC_ROOT/CACHE/made.css"
python manage.py check
"""


@pytest.mark.parametrize(("mode", "ending"), [(0o755, 0), (0o644, 0), (0o755, 3)])
def test_a_build_runs_the_projects_own_steps_first(
    site: Site, tmp_path: Path, mode: int, ending: int
) -> None:
    hook = site.root / "stagetools_project/build"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh -eu\n{MAKE}exit {ending}\n")
    hook.chmod(mode)
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = site.run("-c", BUILD, str(tmp_path / "static"), PATH=path)
    assert done.returncode == (1 if ending else 0), done.stderr
    for name in ("made.js", "CACHE/made.css"):
        assert ((tmp_path / "static") / name).exists() is (not ending or "/" in name)
    said = "stagetools_project/build ended with exit status 3"
    assert (said in done.stderr) is bool(ending)


@pytest.mark.parametrize("text", ["echo 1\n", "#!/bin/sh\r\necho 1\r\n", ""])
def test_steps_that_cannot_be_run_end_the_build_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Without a first line that names a program; and saved with the line ends of Windows."""
    monkeypatch.chdir(tmp_path)
    hook = tmp_path / "stagetools_project/build"
    hook.parent.mkdir()
    hook.write_text(text, newline="")
    hook.chmod(0o755)
    with pytest.raises(SystemExit, match=r"stagetools_project/build .*#!/bin/sh.*LF"):
        source._run_hook()


def test_a_file_of_others_that_is_called_so_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker Hub's automated builds have a hooks/build."""
    monkeypatch.chdir(tmp_path)
    hook = tmp_path / "hooks/build"
    hook.parent.mkdir()
    hook.write_text("exit 3\n")
    source._run_hook()


# --- translations --------------------------------------------------------------------------

CATALOGUE = r"""
# by a translator
#, fuzzy
msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\n"

#: a.py:1
msgid "one\n"
"two"
msgstr "ein\x73\n"
"zwei \"drei\""

#, fuzzy
#| msgid "before"
msgid "unsure"
msgstr "unsicher"

msgctxt "month"
msgid "May"
msgstr "Mai"
msgid "%d heron"
msgid_plural "%d herons"
msgstr[0] "%d Reiher"
msgstr[1] "%d Reihér"

msgid "not yet"
msgstr ""

#~ msgid "gone"
#~ msgstr "weg"
"""


def test_a_catalogue_is_compiled_as_gettext_does(tmp_path: Path) -> None:
    made = tmp_path / "django.mo"
    made.write_bytes(translations.compiled(CATALOGUE.encode()))
    with made.open("rb") as file:
        loaded = gettext.GNUTranslations(file)
    assert loaded.gettext("one\ntwo") == 'eins\nzwei "drei"'
    assert loaded.pgettext("month", "May") == "Mai"
    assert [loaded.ngettext("%d heron", "%d herons", n) for n in (1, 2)] == [
        *("%d Reiher", "%d Reihér")
    ]
    for text in ("unsure", "not yet", "gone", "before"):
        assert loaded.gettext(text) == text


def test_a_compiled_catalogue_stays_and_one_that_cannot_be_read_is_named(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "a/locale/de/LC_MESSAGES"
    folder.mkdir(parents=True)
    (folder / "django.po").write_text('msgid "a"\nmsgstr "b"\n')
    (folder / "django.mo").write_text("theirs")
    (folder / "djangojs.po").write_text("<<<<<<< ours\n")
    broken = translations.compile_all(tmp_path)
    assert broken == [os.path.relpath(folder / "djangojs.po", tmp_path)]
    assert (folder / "django.mo").read_text() == "theirs"


@pytest.mark.parametrize(
    "header",
    [
        r"Plural-Forms: nplurals=INTEGER; plural=EXPRESSION;\n",  # as makemessages leaves it
        r"Content-Type: text/plain; charset=CHARSET\n",
        "",  # and so read as ASCII
    ],
)
def test_a_catalogue_that_would_end_each_page_is_named_and_not_compiled(
    tmp_path: Path, header: str
) -> None:
    folder = tmp_path / "locale/de/LC_MESSAGES"
    folder.mkdir(parents=True)
    text = f'msgid ""\nmsgstr "{header}"\n\nmsgid "a"\nmsgstr "ä"\n'
    (folder / "django.po").write_text(text)
    assert translations.compile_all(tmp_path) == ["locale/de/LC_MESSAGES/django.po"]
    assert not (folder / "django.mo").exists()
