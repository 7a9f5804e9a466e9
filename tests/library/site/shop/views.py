"""The pages that the tests ask for."""

import time

from django.conf import settings
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt

from shop.models import Item


def home(request: HttpRequest) -> HttpResponse:
    """A page with a form, and so with a cookie, and with a stylesheet."""
    return render(request, "home.html", {"name": settings.SYSTEM.name})


@csrf_exempt
def add(request: HttpRequest) -> HttpResponse:
    """Reads, then writes, in one transaction; says how the database is set."""
    with transaction.atomic():
        count = Item.objects.count()
        Item.objects.create(name=f"item {count}")
    with connection.cursor() as cursor:
        pragmas = ("journal_mode", "synchronous", "foreign_keys", "temp_store")
        said = {
            name: cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas
        }
    return JsonResponse({"count": Item.objects.count(), **said})


def fail(request: HttpRequest) -> HttpResponse:
    """A mistake."""
    raise RuntimeError("on purpose\nwith two lines")


def slow(request: HttpRequest) -> HttpResponse:
    """Takes its time."""
    time.sleep(float(request.GET.get("seconds", "0")))
    return HttpResponse(request.META["REMOTE_ADDR"])
