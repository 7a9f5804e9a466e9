"""Refuse a SQLite that can corrupt the database.

Versions 3.7.0 to 3.51.2 may corrupt a WAL database when several processes write to it and
one resets the log; 3.51.3 mends it, and so do 3.50.7 and 3.44.6 for their branches.
Source: sqlite.org/wal.html#walresetbug
"""

__all__ = ["has_wal_reset_bug"]

_FIXED = (3, 51, 3)
_FIXED_IN_BRANCH = {(3, 50): 7, (3, 44): 6}


def has_wal_reset_bug(version: tuple[int, int, int]) -> bool:
    """Whether this version of SQLite has the bug."""
    branch, patch = version[:2], version[2]
    if branch in _FIXED_IN_BRANCH:
        return patch < _FIXED_IN_BRANCH[branch]
    return (3, 7, 0) <= version < _FIXED
