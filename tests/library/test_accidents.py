"""Debug is never reached by accident: every way in that we know of, and what happens."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cases import one_fast
from tests.library.sites import Site

ENTRIES = ("stagetools.wsgi", "stagetools.asgi")
SERVE = (
    "import importlib, sys; importlib.import_module(sys.argv[1]);"
    "from django.conf import settings; print(settings.SYSTEM.name, settings.DEBUG)"
)


def start(site: Site, entry: str, **variables: str) -> str:
    """What serving would do: `name debug`, or the refusal's last lines."""
    done = site.run("-c", SERVE, entry, **variables)
    said: str = done.stderr if done.returncode else done.stdout
    return said


def named_environment(site: Site, directory: Path) -> None:
    """Let the site run in a virtual environment of that name, with our packages."""
    make = [sys.executable, "-m", "venv", "--without-pip", "--symlinks", directory]
    subprocess.run(make, check=True)
    (packages,) = directory.glob("lib/python*/site-packages")
    ours = [
        path for path in sys.path if path.endswith(("site-packages", "dist-packages"))
    ]
    (packages / "ours.pth").write_text("\n".join(ours))
    site.python = str(directory / "bin/python")


@pytest.mark.parametrize("entry", ENTRIES)
def test_without_any_name_a_server_refuses(site: Site, entry: str) -> None:
    said = start(site, entry)
    assert "a server does not guess shop_dev" in said
    assert "STAGETOOLS_SYSTEM" in said


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_real_key_does_not_replace_a_name(production: Site, entry: str) -> None:
    del production.variables["STAGETOOLS_SYSTEM"]
    assert "a server does not guess shop_dev" in start(production, entry)


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("name", ["shop_dev", "shop_int"])
def test_a_debug_stage_that_somebody_wrote_down_is_served(
    site: Site, entry: str, name: str
) -> None:
    """It is no accident: an integration server is made so."""
    assert start(site, entry, STAGETOOLS_SYSTEM=name) == f"{name} True\n"


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_empty_name_is_refused_and_not_guessed(site: Site, entry: str) -> None:
    assert "is not the name of an installation" in start(
        site, entry, STAGETOOLS_SYSTEM=""
    )


@pytest.mark.parametrize("name", ["shop", "prod", "shop_production_", "SHOP_PROD"])
def test_a_misspelt_name_is_refused_and_not_guessed(site: Site, name: str) -> None:
    assert "is not the name of an installation" in start(
        site, "stagetools.wsgi", STAGETOOLS_SYSTEM=name
    )


@pytest.mark.parametrize(
    "left_over",
    one_fast(
        [
            {"DEBUG": "1"},
            {"DJANGO_DEBUG": "True"},
            {"STAGETOOLS_DEBUG": "on"},
            {"PYTHONOPTIMIZE": "1"},
        ]
    ),
)
def test_a_variable_left_over_does_not_turn_debug_on(
    production: Site, left_over: dict[str, str]
) -> None:
    assert start(production, "stagetools.wsgi", **left_over) == "shop_prod False\n"


def test_a_debug_line_in_the_settings_file_does_nothing(
    production: Site, tmp_path: Path
) -> None:
    file = tmp_path / "settings.ini"
    file.write_text("[settings]\nDEBUG = true\n")
    said = start(production, "stagetools.wsgi", STAGETOOLS_CONFIG=str(file))
    assert said == "shop_prod False\n"


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_dev_directory_on_a_server_is_not_served(
    site: Site, tmp_path: Path, entry: str
) -> None:
    """A clone that somebody called `shop_dev` must not show its source to visitors."""
    site.root = site.root.rename(tmp_path / "shop_dev")
    said = start(site, entry)
    assert (
        "shop_dev is a debug stage, and only the checkout's directory says so" in said
    )


def test_a_dev_environment_on_a_server_is_not_served(
    site: Site, tmp_path: Path
) -> None:
    named_environment(site, tmp_path / "shop_dev")
    said = start(site, "stagetools.wsgi")
    assert "only the virtual environment's directory says so" in said


def test_a_directory_may_name_a_stage_without_debug(
    production: Site, tmp_path: Path
) -> None:
    del production.variables["STAGETOOLS_SYSTEM"]
    named_environment(production, tmp_path / "shop_qual")
    assert start(production, "stagetools.wsgi") == "shop_qual False\n"


def test_production_is_not_fooled_by_the_directory_it_runs_in(
    production: Site, tmp_path: Path
) -> None:
    production.root = production.root.rename(tmp_path / "shop_dev")
    production.variables["PYTHONPATH"] = str(production.root)
    assert start(production, "stagetools.wsgi") == "shop_prod False\n"


def test_the_development_server_needs_no_name(site: Site) -> None:
    """It is the one that a developer starts; it imports neither entry point."""
    code = (
        "import aaa_env_setup, django, sys; django.setup();"
        "from django.core.servers.basehttp import get_internal_wsgi_application as get;"
        "get(); print('stagetools.wsgi' in sys.modules)"
    )
    assert site.run("-c", code).stdout == "False\n"


def test_gunicorn_prints_the_refusal_and_no_traceback(
    site: Site, gunicorn: tuple[str, ...]
) -> None:
    done = site.run("-m", *gunicorn)
    assert done.returncode == 1
    assert "a server does not guess shop_dev" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
