"""The defaults, with SQLite tuned to serve: many readers, and writers that wait their turn.

DATABASE_PATH        data/<core_repo>.sqlite3 in the installation's base directory
SQLITE_SYNCHRONOUS   FULL: a commit is on the disk before a visitor is told of it. NORMAL makes
                     a quarter to a third more inserts a second; a power cut may undo the last
                     seconds' commits then, and corrupts nothing
"""

import sys
from contextlib import suppress

from stagetools.settings_defaults import *

DATABASE_PATH = CONFIG.directory("DATABASE_PATH", SYSTEM.database_sqlite_path)
if DEBUG:  # elsewhere `migrate` makes it, or whoever installs
    with suppress(OSError):
        DATABASE_PATH.parent.mkdir()

_SYNCHRONOUS = CONFIG.choice("SQLITE_SYNCHRONOUS", ("FULL", "NORMAL"), "FULL")
_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    f"PRAGMA synchronous = {_SYNCHRONOUS}",
    "PRAGMA journal_size_limit = 67108864",  # bytes; a burst leaves no larger WAL behind
    "PRAGMA temp_store = MEMORY",
)
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATABASE_PATH,
        # Kept open under WSGI: closing the last connection checkpoints and deletes the WAL,
        # which made 76 writes a second out of 5,814. Under ASGI Django asks for 0.
        "CONN_MAX_AGE": 0 if SYSTEM.asgi_module in sys.modules else None,
        "OPTIONS": {
            "timeout": 10,  # seconds that a writer waits for its turn
            # a transaction that reads first and then writes would fail without waiting
            "transaction_mode": "IMMEDIATE",
            "init_command": "; ".join(_PRAGMAS),
        },
    }
}
