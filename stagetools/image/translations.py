"""Compile translations that git does not have: each `.po` without its `.mo`.

As `compilemessages` does, without gettext's program `msgfmt`, which no image has. A `.mo`
that is there stays. The format: gnu.org/software/gettext/manual, "The Format of GNU MO Files".
"""

import gettext
import io
import re
import struct
from pathlib import Path

__all__ = ["compile_all", "compiled"]


def compile_all(root: Path) -> list[str]:
    """Compile what is missing below `root`; the names of what cannot be read."""
    broken = []
    for source in sorted(root.rglob("LC_MESSAGES/*.po")):
        made = source.with_suffix(".mo")
        if made.exists() or "node_modules" in source.parts:
            continue
        try:
            content = compiled(source.read_bytes())
            gettext.GNUTranslations(io.BytesIO(content))
        except Exception:
            # whatever it is, each page of that language would end with it
            broken.append(str(source.relative_to(root)))
            continue
        made.write_bytes(content)
    return broken


_CHARSET = re.compile(rb"charset=([\w-]+)")
_LINE = re.compile(r'(msgctxt|msgid_plural|msgid|msgstr(?:\[\d+\])?)?\s*(".*")$')


def compiled(source: bytes) -> bytes:
    """A catalogue's text as the file that Python's gettext reads. ValueError if it is none."""
    charset = _CHARSET.search(source)
    encoding = charset[1].decode() if charset and charset[1] != b"CHARSET" else "utf-8"
    try:
        text = source.decode(encoding)
    except LookupError as error:
        raise ValueError(str(error)) from None
    catalogue = {}
    for entry in _entries(text):
        if entry.get("msgid") is not None and not entry.get("is_fuzzy"):
            key, value = _pair(entry)
            if value.strip("\0"):
                catalogue[key.encode(encoding)] = value.encode(encoding)
    return _packed(catalogue)


def _entries(text: str) -> list[dict[str, str]]:
    """Each message: its parts by their keywords; a header that is fuzzy counts."""
    entries: list[dict[str, str]] = [{}]
    part = ""
    for line in map(str.strip, text.lstrip("\ufeff").splitlines()):
        if line.startswith("#") or not line:
            if any(name.startswith("msgstr") for name in entries[-1]):
                entries.append({})
            if line.startswith("#,") and "fuzzy" in line:
                entries[-1]["is_fuzzy"] = "yes"
            continue
        found = _LINE.match(line)
        if not found or not (found[1] or part):
            raise ValueError(f"not of a catalogue: {line}")
        if found[1]:
            part = found[1]
            if part in ("msgctxt", "msgid") and any(
                name.startswith("msgstr") for name in entries[-1]
            ):
                entries.append({})
        entries[-1][part] = entries[-1].get(part, "") + _unescaped(found[2][1:-1])
    for entry in entries:
        if entry.get("msgid") == "":
            entry.pop("is_fuzzy", None)
    return entries


_ESCAPED = re.compile(r"\\([0-7]{1,3}|x[0-9a-fA-F]{2}|.)")
_MEANT = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def _unescaped(text: str) -> str:
    """As C has it; most lines have nothing of the kind, and a large project has 100,000."""
    return _ESCAPED.sub(_meant, text) if "\\" in text else text


def _meant(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] == "x" and len(code) > 1:
        return chr(int(code[1:], 16))
    return chr(int(code, 8)) if code.isdigit() else _MEANT.get(code, code)


def _pair(entry: dict[str, str]) -> tuple[str, str]:
    key = entry["msgid"]
    if "msgctxt" in entry:
        key = f"{entry['msgctxt']}\x04{key}"
    if "msgid_plural" not in entry:
        return key, entry.get("msgstr", "")
    forms = [
        value for name, value in sorted(entry.items()) if name.startswith("msgstr[")
    ]
    return f"{key}\0{entry['msgid_plural']}", "\0".join(forms)


_MAGIC, _HEADER = 0x950412DE, 28  # and bytes of it


def _packed(catalogue: dict[bytes, bytes]) -> bytes:
    """The header, two tables of lengths and places, and the texts."""
    keys = sorted(catalogue)
    at, tables, texts = _HEADER + 16 * len(keys), b"", b""
    for column in (keys, [catalogue[key] for key in keys]):
        for text in column:
            tables += struct.pack("<II", len(text), at + len(texts))
            texts += text + b"\0"
    numbers = (_MAGIC, 0, len(keys), _HEADER, _HEADER + 8 * len(keys), 0, 0)
    return struct.pack("<7I", *numbers) + tables + texts
