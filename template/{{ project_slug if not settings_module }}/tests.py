"""What the site promises. Run with `inv test`."""

import re

import pytest
from django.contrib.auth import get_user_model
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse

from aaa_env_setup import SYSTEM

from .models import Entry
from .views import ENTRIES_PER_PAGE

pytestmark = pytest.mark.django_db
LINE = {"name": "Ada", "message": "What a <b>fine</b> engine."}


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


def test_nothing_on_the_page_is_inline_or_from_elsewhere(client):
    page = client.get("/").content.decode()
    assert not re.search(
        r"<style|<script|\sstyle=|\son\w+=|(src|href)=\"(\w+:)?//", page
    )
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
