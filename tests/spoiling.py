"""Databases that are none: what a disk, a broken copy or a slip of the hand leaves."""

from pathlib import Path

WAYS = ("empty", "truncated", "text", "page")
PAGE = 4096  # bytes, of which the first pages are the schema's


def spoil(path: Path, how: str) -> None:
    """Change the file in one of the ways."""
    data = bytearray(path.read_bytes())
    match how:
        case "empty":
            data.clear()
        case "truncated":
            del data[len(data) // 2 :]
        case "text":
            data[:] = b"no database at all, but long enough for a header" * 400
        case "page":
            data[PAGE * 3 : PAGE * 9] = b"\xa5" * PAGE * 6
    path.write_bytes(data)
