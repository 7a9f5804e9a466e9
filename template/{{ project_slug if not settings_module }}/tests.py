"""What the site promises. Run with `inv test`."""

import re
from fnmatch import fnmatch
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
from django.contrib.auth import get_user_model
from django.contrib.staticfiles import finders
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse

from aaa_env_setup import SYSTEM

from .forms import LARGEST_PICTURE
from .models import Entry
from .views import ENTRIES_PER_PAGE

pytestmark = pytest.mark.django_db
LINE = {"name": "Ada", "message": "What a <b>fine</b> engine."}
PNG = b"\x89PNG\r\n\x1a\n and so on"


@pytest.fixture(autouse=True)
def _uploads_go_nowhere_else(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path


def file(content: bytes, name: str = "../me.html") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content, "text/html")


def test_the_first_page_says_which_installation_answers(client):
    page = client.get("/").content.decode()
    assert f'aria-label="{SYSTEM.name}"' in page
    assert SYSTEM.stage in page
    assert "working copy" in page
    assert "journal" in page


def test_a_line_is_stored_and_shown_and_the_visitor_thanked(client):
    answer = client.post("/", LINE, follow=True)
    assert answer.redirect_chain == [("/#guest-book", 302)]
    assert Entry.objects.get().name == "Ada"
    page = answer.content.decode()
    assert "Thank you" in page
    assert "What a &lt;b&gt;fine&lt;/b&gt; engine." in page


@pytest.mark.parametrize(
    "flaw", [{"message": ""}, {"message": "x" * 501}, {"name": " "}, {"name": "x" * 61}]
)
def test_a_line_with_a_flaw_is_not_stored_but_kept_in_the_form(client, flaw):
    answer = client.post("/", LINE | flaw)
    assert answer.status_code == 422
    assert "errorlist" in answer.content.decode()
    assert not Entry.objects.exists()


def test_a_picture_is_stored_under_a_name_of_our_own_and_shown(client):
    client.post("/", LINE | {"picture": file(PNG)})
    url = Entry.objects.get().picture.url
    assert re.fullmatch(r"/media/guest-book/[0-9a-f]{16}\.png", url)
    assert f'<img src="{url}"' in client.get("/").content.decode()
    answer = client.get(url)
    assert b"".join(answer.streaming_content) == PNG
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!doctype html><script>alert(1)</script>", "no PNG, JPEG, GIF or WebP"),
        (PNG + bytes(LARGEST_PICTURE), "larger than 5 MB"),
    ],
)
def test_what_is_no_picture_or_too_large_is_not_stored(client, content, words):
    answer = client.post("/", LINE | {"picture": file(content, "me.png")})
    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert not Entry.objects.exists()


def test_a_form_from_elsewhere_is_refused():
    answer = Client(enforce_csrf_checks=True).post("/", LINE)
    assert answer.status_code == 403
    assert "Nothing was saved" in answer.content.decode()


def test_the_newest_line_comes_first_and_the_oldest_on_the_last_page(client):
    for number in range(ENTRIES_PER_PAGE + 1):
        Entry.objects.create(name="Ada", message=f"Line {number}.")
    first, last = (client.get("/", {"page": n}).content.decode() for n in (1, 2))
    assert first.index(f"Line {ENTRIES_PER_PAGE}.") < first.index("Line 1.")
    assert "Line 0." in last
    assert "Line 0." not in first


class Refused(HTMLParser):
    """Collects what a browser would not run or load under a Content-Security-Policy."""

    LOADS = {
        ("script", "src"): "script-src",
        ("stylesheet", "href"): "style-src",
        ("icon", "href"): "img-src",
        ("img", "src"): "img-src",
        ("iframe", "src"): "frame-src",
        ("audio", "src"): "media-src",
        ("video", "src"): "media-src",
        ("form", "action"): "form-action",
    }

    def __init__(self, policy):
        super().__init__()
        rules = [rule.split() for rule in policy.split(";")]
        self.policy = {rule[0]: rule[1:] for rule in rules if rule}
        self.found = []

    def allows(self, directive, *sources):
        allowed = self.policy.get(directive, self.policy["default-src"])
        return any(fnmatch(s, word) for s in sources for word in allowed)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        kind = named.get("rel", "") if tag == "link" else tag
        is_data = "json" in named.get("type", "")
        is_inline = tag == "style" or (tag == "script" and "src" not in named)
        if is_inline and not is_data and "nonce" not in named:
            self.look(tag, f"{tag}-src", "'unsafe-inline'")
        for name, value in attributes:
            if name == "style" or name.startswith("on"):
                kind_of = "style-src" if name == "style" else "script-src"
                self.look(f"{tag} {name}=", kind_of, "'unsafe-inline'")
            if (kind, name) in self.LOADS:
                url = urlsplit(value or "")
                origin = f"{url.scheme}://{url.netloc}" if url.netloc else "'self'"
                scheme = f"{url.scheme}:"
                own = [scheme] if url.scheme == "data" else [origin, scheme]
                self.look(f"{tag} {name}={value}", self.LOADS[kind, name], *own)

    def look(self, what, directive, *sources):
        if not self.allows(directive, *sources):
            self.found.append(
                f"{what}: {directive} of the policy has none of {sources}"
            )


def test_the_policy_refuses_nothing_on_the_page(client):
    answer = client.get("/")
    refused = Refused(answer.headers["Content-Security-Policy"])
    refused.feed(answer.content.decode())
    assert refused.found == []


def test_static_files_on_the_page_are_there(client):
    page = client.get("/").content.decode()
    for path in re.findall(r'"/static/([^"]+)"', page):
        assert finders.find(path), path


def test_an_unknown_address_gets_a_page_of_our_own(client):
    answer = client.get("/nowhere/")
    assert answer.status_code == 404
    assert "No page has this address" in answer.content.decode()


@pytest.mark.parametrize("page", ["400.html", "403.html", "500.html"])
def test_error_pages_need_no_context(page):
    assert page[:3] in render_to_string(page)


def test_the_admin_keeps_the_guest_book(admin_client):
    Entry.objects.create(**LINE)
    changelist = f"admin:{Entry._meta.app_label}_entry_changelist"
    assert b"Ada" in admin_client.get(reverse(changelist)).content


def test_users_are_the_projects_own():
    assert get_user_model()._meta.app_label == Entry._meta.app_label


def test_no_migration_is_missing():
    call_command("makemigrations", "--check", "--dry-run")


def test_the_site_is_healthy(client):
    assert client.get("/healthz").status_code == 200
