"""Who imports what: the web process stays small, and the library needs no Django."""

import json
import sys
from pathlib import Path

import pytest

from tests.library.sites import Site

OF_THE_DEPLOYER = {
    "fabric",
    "invoke",
    "rich",
    "paramiko",
    "tomlkit",
    "questionary",
    "copier",
}
SAY = "import json, sys; print(json.dumps(sorted({n.partition('.')[0] for n in sys.modules})))"
LIBRARY = Path(__file__).parents[2]
WITHOUT_DJANGO = (
    "stagetools",
    "stagetools.utils",
    "stagetools.naming.system",
    "stagetools.config",
    "stagetools.naming.comparison",
    "stagetools.naming.inspection",
    "stagetools.gunicorn_conf",
    "stagetools.probe",
    "stagetools.__main__",
)


def modules(site: Site, code: str, **variables: str) -> set[str]:
    done = site.run_fresh("-c", f"{code}\n{SAY}", **variables)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("module", WITHOUT_DJANGO)
def test_it_imports_no_django_and_nothing_from_elsewhere(
    site: Site, module: str
) -> None:
    base = modules(site, "")
    own = modules(site, f"import {module}") - base
    foreign = {name for name in own if (LIBRARY / name).exists()} - {"stagetools"}
    assert "stagetools" in own
    assert not own & {"django", "whitenoise", "flask", "starlette", *OF_THE_DEPLOYER}
    assert not foreign


def test_importing_stagetools_imports_nothing_else(site: Site) -> None:
    done = site.run_fresh(
        "-c",
        "import sys; old = set(sys.modules); import stagetools; print(*set(sys.modules) - old)",
    )
    assert done.stdout.split() == ["stagetools"]


ASK = """
from wsgiref.util import setup_testing_defaults
from stagetools.wsgi import application
for method, path in (("GET", "/"), ("POST", "/add/"), ("GET", "/healthz")):
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path}
    environ |= {"HTTP_HOST": "shop.example.com", "HTTP_X_FORWARDED_PROTO": "https"}
    setup_testing_defaults(environ)
    list(application(environ, lambda status, headers: print(status)))
"""


@pytest.mark.parametrize("code", [ASK, "import stagetools.asgi"], ids=["wsgi", "asgi"])
def test_the_web_process_imports_the_standard_library_and_django(
    ready: Site, code: str
) -> None:
    """WhiteNoise too, and before Django 6.0 django-csp; after pages and the database."""
    loaded = modules(ready, code)
    assert "django" in loaded
    assert not loaded & OF_THE_DEPLOYER
    ours = {"stagetools", "stagetools_project", "shop", "aaa_env_setup", "__main__"}
    theirs = {
        "django",
        "asgiref",
        "sqlparse",
        "whitenoise",
        "brotli",
        "csp",
        "packaging",
    }
    rest = loaded - modules(ready, "") - set(sys.stdlib_module_names) - ours - theirs
    assert {name for name in rest if not name.startswith("_")} <= {"colorama"}
