"""The defaults, with PostgreSQL through psycopg 3 and a pool of connections in each process.

DATABASE_NAME, DATABASE_USER    both the installation's name
DATABASE_PASSWORD               none: PostgreSQL knows a local account by its user
DATABASE_HOST, DATABASE_PORT    none: the unix socket of this machine
DATABASE_POOL                   4 connections at most in a process, one a thread; 0: none
"""

from stagetools.settings_defaults import *

_POOL = CONFIG.number("DATABASE_POOL", 4)
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": CONFIG.text("DATABASE_NAME", SYSTEM.database_name),
        "USER": CONFIG.text("DATABASE_USER", SYSTEM.database_user),
        "PASSWORD": CONFIG.text("DATABASE_PASSWORD"),
        "HOST": CONFIG.text("DATABASE_HOST"),
        "PORT": CONFIG.text("DATABASE_PORT"),
        "CONN_MAX_AGE": 0,  # the pool keeps them; Django refuses both at once
        "CONN_HEALTH_CHECKS": True,  # a server that was restarted costs no request
        "OPTIONS": {
            "connect_timeout": 10,  # seconds
            # the pool's timeout: seconds that a request waits for a free connection
            "pool": _POOL > 0 and {"min_size": 1, "max_size": _POOL, "timeout": 10},
        },
    }
}
