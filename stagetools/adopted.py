"""An existing project's settings, wrapped: what production needs over what the project had.

    from shop.settings import *

    from stagetools import settings_defaults_with_sqlite as defaults
    from stagetools.adopted import adopt

    adopt(globals(), defaults)

Nothing of the project's own is edited: its settings, URLs, applications, templates and
middleware stay as they are. Ours are DEBUG, the key, the hosts, the default database, static
files, logs, and whatever HTTPS wants. Nothing here needs Django.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from stagetools.naming.system import BUILD, System
from stagetools.settings.kept_logs import kept_logs
from stagetools.settings.whitenoise import own_whitenoise

__all__ = ["add_source_dir", "adopt", "stand_in"]

# --- where the project's own modules are ---------------------------------------------

_NOT_SOURCES = ("stagetools", "stagetools_project", "node_modules", "venv", "env")


def add_source_dir(root: Path, settings_module: str) -> None:
    """Make the project's own modules importable, from `root`, `src/` or a folder beside it.

    As its own manage.py does, which Python looks for modules beside.
    """
    folder = source_dir(root, settings_module)
    if folder and folder != root and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def source_dir(root: Path, settings_module: str) -> Path | None:
    """The folder that `settings_module` is imported from; None if it is installed."""
    module = Path(*settings_module.split("."))
    for folder in (root, root / "src", *_folders(root)):
        is_package = (folder / module / "__init__.py").exists()
        if is_package or (folder / module).with_suffix(".py").exists():
            return folder
    return None


def _folders(root: Path) -> list[Path]:
    return [
        path
        for path in sorted(root.iterdir())
        if path.is_dir() and path.name[0] != "." and path.name not in _NOT_SOURCES
    ]


# --- variables that the project's settings insist on ----------------------------------


_STOOD_IN: dict[str, str] = {}  # so that no value of it is taken for a server's


def stand_in(system: System, **values: str) -> None:
    """Set variables where no server sets them: for a developer, and in an image's build.

    A server never sees these values: `inv env.set NAME=VALUE` gives it its own.
    """
    if system.is_debug or system.name == BUILD:
        _STOOD_IN.update(values)
        for name, value in values.items():
            os.environ.setdefault(name, value)


# --- the settings ---------------------------------------------------------------------

_OURS = [
    "DEBUG",
    "RELEASE",
    "SECRET_KEY",
    "SECRET_KEY_FALLBACKS",
    "ALLOWED_HOSTS",
    "WSGI_APPLICATION",
    "DATABASE_PATH",
    "STATIC_ARCHIVE",
    "STATIC_FILES",
    "MEDIA_ROOT",
    "TLS",
    "SECURE_PROXY_SSL_HEADER",
    "SECURE_SSL_REDIRECT",
    "SECURE_HSTS_SECONDS",
    "SECURE_HSTS_INCLUDE_SUBDOMAINS",
    "SECURE_HSTS_PRELOAD",
    "SECURE_CONTENT_TYPE_NOSNIFF",
    "SESSION_COOKIE_SECURE",
    "CSRF_COOKIE_SECURE",
]
_THEIRS_FIRST = [
    "SECURE_REFERRER_POLICY",
    "SECURE_CROSS_ORIGIN_OPENER_POLICY",
    "X_FRAME_OPTIONS",
]
_BOTH = ("CSRF_TRUSTED_ORIGINS", "SILENCED_SYSTEM_CHECKS")
# what Django 5 has no more; beside STORAGES, Django 4.2 refuses the first two
_GONE = ("STATICFILES_STORAGE", "DEFAULT_FILE_STORAGE", "USE_L10N")

_FILES = "django.core.files.storage.FileSystemStorage"
_SECURITY = "django.middleware.security.SecurityMiddleware"
_STATIC = "stagetools.static.StaticMiddleware"
_MEDIA = "stagetools.media.MediaMiddleware"
_OUTERMOST = (
    "stagetools.requests.RequestMiddleware",
    "stagetools.health.HealthMiddleware",
)
_CSP = (
    "csp.middleware.CSPMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
)


def adopt(own: dict[str, Any], defaults: ModuleType) -> None:
    """Change the settings in `own`, a module's names, into those of an installation."""
    ours = vars(defaults)
    changed: dict[str, Any] = {name: ours[name] for name in _OURS if name in ours}
    changed |= {name: own.get(name, ours[name]) for name in _THEIRS_FIRST}
    changed |= {name: _united(own.get(name, ()), ours[name]) for name in _BOTH}
    changed["MEDIA_URL"] = own.get("MEDIA_URL", "")  # as Django's: no address, no files
    changed |= _static_files(own, ours)
    changed |= _content_policy(own, ours)
    changed |= _mail(own, ours)
    changed["DATABASES"] = _databases(own.get("DATABASES", {}), ours["DATABASES"])
    changed["STORAGES"] = _storages(own, ours["STORAGES"])
    if not changed["WHITENOISE_MANIFEST_STRICT"]:
        changed["STORAGES"]["staticfiles"] = _lenient(ours["STORAGES"]["staticfiles"])
    changed["STAGETOOLS_REPLACED"] = {
        "WSGI_APPLICATION": own.get("WSGI_APPLICATION")  # `inv check` looks into it
    }
    # a handler may need a network, or a key that a server alone has
    logs = {} if ours["SYSTEM"].name == BUILD else own.get("LOGGING") or {}
    changed["LOGGING"] = kept_logs(logs, ours["LOGGING"])
    changed |= _whitenoise(own)
    changed["MIDDLEWARE"] = _middleware(own, changed, ours["MIDDLEWARE"])
    for name in _GONE:
        own.pop(name, None)
    own.update(changed)


def _united(*lists: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(word for words in lists for word in words))


def _databases(own: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Ours is the default; what it says of transactions and tests stays as it was.

    But for a server that whoever deploys has named: DATABASE_URL, as their settings read it.
    """
    url = os.environ.get("DATABASE_URL")
    is_named = url and url != _STOOD_IN.get("DATABASE_URL")
    if is_named and not _is_sqlite(own.get("default", {})):
        return dict(own)
    options = ("ATOMIC_REQUESTS", "TEST", "TIME_ZONE")
    default = own.get("default", {})
    return {
        **own,
        "default": {
            **ours["default"],
            **{name: default[name] for name in options if name in default},
        },
    }


def _is_sqlite(database: Mapping[str, Any]) -> bool:
    return "sqlite" in database.get("ENGINE", "sqlite") or not database["ENGINE"]


def _storages(own: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Uploads go where they went, or below MEDIA_ROOT; static files are ours to hash."""
    theirs = dict(own.get("STORAGES") or {})
    if backend := own.get("DEFAULT_FILE_STORAGE"):
        theirs.setdefault("default", {"BACKEND": backend})
    default = theirs.get("default", ours["default"])
    is_on_disk = default.get("BACKEND") == _FILES
    return {
        **theirs,
        "default": dict(ours["default"]) if is_on_disk else default,
        "staticfiles": ours["staticfiles"],
    }


def _lenient(storage: Mapping[str, Any]) -> dict[str, Any]:
    """Hashed as ours, and a page that names a missing file is shown."""
    is_hashed = "Manifest" in storage["BACKEND"]
    return (
        {"BACKEND": "stagetools.web.storage.StaticStorage"}
        if is_hashed
        else {**storage}
    )


def _static_files(own: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """An application that collects; a directory of its own; and as strict as it was."""
    storage = (own.get("STORAGES") or {}).get("staticfiles", {})
    storage = storage.get("BACKEND", own.get("STATICFILES_STORAGE", ""))
    root = ours["STATIC_ROOT"]
    if str(root) in map(_directory, own.get("STATICFILES_DIRS", ())):
        root = root.with_name(
            "static-collected"
        )  # Django refuses to collect into itself
    url = own.get("STATIC_URL") or ours["STATIC_URL"]
    return {
        "INSTALLED_APPS": _united(
            own.get("INSTALLED_APPS", ()), ["django.contrib.staticfiles"]
        ),
        "STATIC_ROOT": root,
        "STATIC_URL": ours["STATIC_URL"] if "//" in url else url,
        # a page that names a missing file was shown before: it still is
        "WHITENOISE_MANIFEST_STRICT": own.get(
            "WHITENOISE_MANIFEST_STRICT", "Manifest" in storage
        ),
    }


def _directory(entry: Any) -> str:
    """A row of STATICFILES_DIRS: a path, or a prefix and a path."""
    path: str | Path = entry[1] if isinstance(entry, (list, tuple)) else entry
    return os.path.normpath(path)


def _content_policy(own: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """A policy that only reports, for nobody wrote the pages with one in mind."""
    names = ("SECURE_CSP", "CONTENT_SECURITY_POLICY")
    if any(name.startswith((*names, "CSP_")) for name in own):
        return {}
    return {f"{name}_REPORT_ONLY": ours[name] for name in names if name in ours}


def _mail(own: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """All of it or none: Django refuses MAILERS beside EMAIL_*."""
    names = ("DEFAULT_FROM_EMAIL", "SERVER_EMAIL", "ADMINS")
    mail = {name: own.get(name) or ours[name] for name in names}
    if "MAILERS" in own or any(name.startswith("EMAIL_") for name in own):
        return mail
    return mail | {
        name: value
        for name, value in ours.items()
        if name == "MAILERS" or name.startswith("EMAIL_")
    }


def _whitenoise(own: Mapping[str, Any]) -> dict[str, str]:
    """A class of theirs that is made of WhiteNoise's: ours is made of it, and stands for it."""
    name = own_whitenoise(own.get("MIDDLEWARE", ()))
    return {"STAGETOOLS_WHITENOISE": name} if name else {}


def _middleware(
    own: Mapping[str, Any], changed: Mapping[str, Any], ours: Iterable[str]
) -> list[str]:
    """Theirs in their order, with ours where they belong."""
    has_policy = any(name.endswith("_REPORT_ONLY") for name in changed)
    policy = [name for name in ours if name in _CSP] if has_policy else []
    after_security = [*policy, _STATIC, *([_MEDIA] if _serves_media(changed) else [])]
    dropped = {
        *_OUTERMOST,
        *after_security,
        "whitenoise.middleware.WhiteNoiseMiddleware",
        changed.get("STAGETOOLS_WHITENOISE"),
    }
    theirs = [name for name in own.get("MIDDLEWARE", ()) if name not in dropped]
    if _SECURITY not in theirs:
        theirs.insert(0, _SECURITY)
    at = theirs.index(_SECURITY) + 1
    return [*_OUTERMOST, *theirs[:at], *after_security, *theirs[at:]]


def _serves_media(changed: Mapping[str, Any]) -> bool:
    """Uploads on this disk, under an address of this site's own."""
    url: str = changed["MEDIA_URL"]
    is_here = changed["STORAGES"]["default"]["BACKEND"] == _FILES
    return is_here and bool(url.strip("/")) and "//" not in url
