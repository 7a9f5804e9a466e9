"""What the benchmark asks a rendered site: copied into it as `bench_views.py`."""

from random import randrange

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from mysite.models import Entry

ROWS = 10_000
"""How many entries there are before the first measurement."""


def read(request: HttpRequest) -> HttpResponse:
    """One row by its key."""
    entry = Entry.objects.get(pk=randrange(1, ROWS))  # noqa: S311
    return HttpResponse(entry.message, content_type="text/plain")


@csrf_exempt
def insert(request: HttpRequest) -> HttpResponse:
    """One row more."""
    entry = Entry.objects.create(name="somebody", message="Thank you. " * 9)
    return HttpResponse(str(entry.pk), content_type="text/plain")


@csrf_exempt
@transaction.atomic
def change(request: HttpRequest) -> HttpResponse:
    """One row read, and written again with what was read in it."""
    entry = Entry.objects.select_for_update().get(pk=randrange(1, ROWS))  # noqa: S311
    entry.message = f"{len(entry.message)} characters stood here. {'Thanks. ' * 9}"
    entry.save(update_fields=["message"])
    return HttpResponse(str(entry.pk), content_type="text/plain")


urlpatterns = [path("read", read), path("insert", insert), path("change", change)]
