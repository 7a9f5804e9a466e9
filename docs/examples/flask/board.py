"""A notice board with Flask: what differs between its stages comes from its name."""

import sqlite3
from contextlib import closing

from aaa_env_setup import SYSTEM
from flask import Flask, request

from stagetools.config import Config
from stagetools.secret_key import hosts_of, secret_key_of

config = Config.of(SYSTEM.core_repo)
app = Flask(__name__)
app.config["SECRET_KEY"] = secret_key_of(SYSTEM, config)
app.config["TRUSTED_HOSTS"] = hosts_of(SYSTEM, config)
app.debug = SYSTEM.is_debug


def database() -> sqlite3.Connection:
    """`/home/board_prod/data/board.sqlite3`, or `data/` in a checkout."""
    path = config.directory("DATABASE_PATH", SYSTEM.database_sqlite_path)
    path.parent.mkdir(exist_ok=True)
    connection = sqlite3.connect(path, timeout=10)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE IF NOT EXISTS note (text)")
    return connection


@app.get("/")
def notes() -> dict[str, object]:
    """Which installation answers, and what was pinned to it."""
    with closing(database()) as connection:
        rows = connection.execute("SELECT text FROM note").fetchall()
    return {"installation": SYSTEM.name, "notes": [text for (text,) in rows]}


@app.post("/")
def pin() -> tuple[str, int]:
    """Pin a note."""
    with closing(database()) as connection, connection:
        connection.execute("INSERT INTO note VALUES (?)", [request.form["text"]])
    return "", 201
