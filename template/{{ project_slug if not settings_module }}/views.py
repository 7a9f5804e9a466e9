"""What the core app answers."""

import platform

import django
from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from aaa_env_setup import SYSTEM

from .forms import EntryForm
from .models import Entry

ENTRIES_PER_PAGE = 10
PURPOSES = {
    "production": "the installation that everybody uses.",
    "qualification": "where a release proves itself before everybody uses it.",
    "integration": "where the changes of several people meet.",
    "development": "where changes are made and tried.",
}


@require_http_methods(["GET", "HEAD", "POST"])
def home(request: HttpRequest) -> HttpResponse:
    """The first page: which installation answers, and its guest book."""
    sent = (request.POST, request.FILES) if request.method == "POST" else ()
    form = EntryForm(*sent)
    if form.is_valid():
        form.save()
        messages.success(request, "Thank you. Your line stands in the book.")
        return redirect(reverse("home") + "#guest-book")
    pages = Paginator(Entry.objects.all(), ENTRIES_PER_PAGE)
    context = {
        "system": SYSTEM,
        "purpose": PURPOSES[SYSTEM.stage],
        "facts": facts(),
        "form": form,
        "entries": pages.get_page(request.GET.get("page")),
    }
    return render(request, "home.html", context, status=422 if form.errors else 200)


def facts() -> dict[str, str]:
    """What there is to know about the installation that answers."""
    return {
        "Release": settings.RELEASE or "working copy",
        "Database": database(),
        "Django": django.get_version(),
        "Python": platform.python_version(),
    }


def database() -> str:
    """The kind of database, and how SQLite keeps its journal."""
    if connection.vendor != "sqlite":
        return connection.display_name
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        (journal_mode,) = cursor.fetchone()
    return f"SQLite, {journal_mode.upper()} journal"
