"""Who is compared: the rendered site as deployed, and what others recommend in its place."""

import os
from dataclasses import dataclass, field
from pathlib import Path

CORES = os.cpu_count() or 2
"""gunicorn's documentation recommends twice as many workers, and one more."""
OURS_NAME = "ours"
TURNS = f"""
import sys
sys.path.append({str(Path(__file__).parent)!r})
import turns
DATABASES["default"]["OPTIONS"]["factory"] = turns.Connection
"""
DJANGOS_DEFAULT = """
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATABASE_PATH}
}
"""
USUAL_LIST = """
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATABASE_PATH,
        "OPTIONS": {
            "timeout": 5,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
            "PRAGMA mmap_size=134217728; PRAGMA journal_size_limit=27103364;"
            "PRAGMA cache_size=2000",
        },
    }
}
"""
USUAL_WORKERS = ("--worker-class", "sync", "--workers", str(2 * CORES + 1))
POSTGRESQL = """
from stagetools.settings_defaults_with_postgresql import DATABASES
"""


@dataclass(frozen=True)
class Contender:
    """Settings that stand behind the rendered ones, and words for gunicorn."""

    name: str
    settings: str
    gunicorn: tuple[str, ...] = ()
    is_postgresql: bool = False
    over_http: bool = True
    as_writers: bool = False  # without HTTP, too
    environment: dict[str, str] = field(default_factory=dict)


ALL = (
    Contender(OURS_NAME, "", as_writers=True),
    Contender("taking turns", TURNS, over_http=False, as_writers=True),
    Contender("ours, NORMAL", "", environment={"SQLITE_SYNCHRONOUS": "NORMAL"}),
    Contender("Django's defaults", DJANGOS_DEFAULT),
    Contender("the usual list", USUAL_LIST, USUAL_WORKERS),
    Contender("PostgreSQL", POSTGRESQL, is_postgresql=True, as_writers=True),
)
