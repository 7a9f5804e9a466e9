"""Projects that somebody else wrote, each in a git repository of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.forked import FORKER
from tests.template.conftest import SURROUNDINGS, git
from tests.template.history import commit_all

PROJECTS = Path(__file__).parent / "projects"
PLAIN = {
    "project_name": "Shop",
    "project_slug": "shop",
    "settings_module": "shop.settings",
}
AWKWARD = {
    "project_name": "Heronry",
    "project_slug": "heronry",
    "settings_module": "config.settings",
}


def plain(folder: Path) -> Path:
    """What `startproject` and two `startapp` make, and the little that one adds first."""
    folder.mkdir(parents=True)
    python(folder, "-m", "django", "startproject", "shop", ".")
    for app in ("catalog", "orders"):
        python(folder, "manage.py", "startapp", app)
    settings = folder / "shop/settings.py"
    text = settings.read_text()
    apps = "INSTALLED_APPS = [\n    'catalog',\n    'orders',"
    settings.write_text(text.replace("INSTALLED_APPS = [", apps))
    (folder / "catalog/models.py").write_text(MODEL)
    (folder / "catalog/views.py").write_text(VIEW)
    (folder / "catalog/tests.py").write_text(TEST)
    (folder / "shop/urls.py").write_text(URLS)
    (folder / "requirements.txt").write_text("django~=5.2.0\n")
    python(folder, "manage.py", "makemigrations", "catalog")
    return committed(folder)


MODEL = """\
from django.db import models


class Ware(models.Model):
    name = models.CharField(max_length=40)
"""
VIEW = """\
from django.http import HttpResponse
from django.shortcuts import redirect
from django.template import RequestContext, Template

from .models import Ware

PAGE = Template('<h1>Shop</h1><form method="post">{% csrf_token %}'
                '<input name="name"></form>{{ names|join:", " }}')


def home(request):
    if request.method == "POST":
        Ware.objects.create(name=request.POST["name"])
        return redirect("/")
    names = Ware.objects.values_list("name", flat=True)
    return HttpResponse(PAGE.render(RequestContext(request, {"names": names})))
"""
URLS = """\
from catalog.views import home
from django.contrib import admin
from django.urls import path

urlpatterns = [path("admin/", admin.site.urls), path("", home)]
"""
TEST = """\
from django.test import TestCase


class WareTests(TestCase):
    def test_a_ware_is_sold(self):
        self.client.post("/", {"name": "Kettle"})
        self.assertContains(self.client.get("/"), "Kettle")
"""


def awkward(folder: Path, *, with_hashes: bool = False) -> Path:
    """The project with every habit that makes adoption hard; see projects/heronry."""
    shutil.copytree(
        PROJECTS / "heronry", folder, ignore=shutil.ignore_patterns("__pycache__")
    )
    if with_hashes:
        words = ["pip", "compile", "--quiet", "--generate-hashes", "--universal"]
        words += ["--no-header", "--python-version=3.13", "requirements.in"]
        uv = Path(sys.executable).parent / "uv"
        subprocess.run([uv, *words, "-o", "requirements.txt"], cwd=folder, check=True)
    else:
        shutil.copy(folder / "requirements.in", folder / "requirements.txt")
    return committed(folder)


def committed(folder: Path) -> Path:
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit_all(folder, "Theirs")
    return folder


def python(folder: Path, *words: str, **variables: str) -> str:
    """Run this Python in a project, with nothing of the test's own around it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(SURROUNDINGS)}
    kept |= {"PYTHONDONTWRITEBYTECODE": "1"}
    done = FORKER.run(words, folder, kept | variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
