"""Lists every message that a user can meet, from the code: `python tests/messages.py --write`.

A message is text with a blank in it, in a string that is no documentation, pattern, command or
SQL; a few lines for programs are among them, rather than one for a person left out. Where it
stands is not listed: a module that moves changes no word. `{…}` is what the code fills in.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIST = Path(__file__).with_suffix(".txt")
# Names of functions whose texts are for a program: a shell, a database, a compiler of patterns.
FOR_PROGRAMS = {"Command", "compile", "cursor", "execute", "fullmatch", "looks", "match", "script", "search", "sh", "split", "sub", "strptime", "strftime", "TypeError", "AssertionError", "NotImplementedError", "debug"}  # fmt: skip
_PROSE = re.compile(r"[A-Za-z]{2,}\S* +\S|\S +[a-z]{2,}")
_NO_PROSE = re.compile(
    r"""PRAGMA | \(\[ | \(\\w | \[\^' | ^\{" | ^\{\{ | %\( | ^"%s | ^mine=" | ^user=\$1 | ^test\ -s | ^exec\ 8
    | ^bold\ | ^tmpfs | \ \|\ None$ | ^(uvicorn|hypercorn|gunicorn|install|useradd|usermod)\ -?
    | ^(cert_)?issuer\  | ^(trusted_roots|acme_ca|acme_ca_root|dir|email)\ \{ | ^-o\  | default-src
    | ^regular\ | ^symbolic\ | ^\{[a-z_]+\}\ \{[a-z_…]+\}(\ \{[a-z_]+\})?$""",
    re.VERBOSE,
)
_SAID = re.compile(r"""\b(?:echo \\?(["'])([^"'\n]*?)\\?\1 *>&2|fail "([^"\n]*)")""")


def messages() -> list[str]:
    """Every message, each once, in the order of the alphabet."""
    found = set()
    for path in [
        *sorted((ROOT / "stagetools").rglob("*.py")),
        ROOT / "template/tasks.py",
    ]:
        found.update(_in_python(ast.parse(path.read_text())))
    for path in sorted((ROOT / "stagetools").rglob("*.sh")):
        said = _SAID.finditer(path.read_text())
        found.update(one[2] or one[3] for one in said if one[2] != "$*")
    return sorted(found, key=lambda text: (text.lower(), text))


def _in_python(tree: ast.AST) -> Iterator[str]:
    for node in _for_people(tree):
        text = _text(node)
        is_file = text.count("\n") > 3  # a script, a unit, a file of settings
        if not is_file and _PROSE.search(text) and not _NO_PROSE.search(text):
            yield " ".join(text.split())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "script":
            yield from (said[2] for said in _SAID.finditer(ast.unparse(node.args[0])))


def _for_people(node: ast.AST) -> Iterator[ast.expr]:
    """Whole texts, without those for programs and without documentation."""
    if isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    ):
        yield node
        if isinstance(node, ast.JoinedStr):
            for part in node.values:
                if isinstance(part, ast.FormattedValue):
                    yield from _for_people(part.value)
        return
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in FOR_PROGRAMS:
            return
    for child in ast.iter_child_nodes(node):
        is_documentation = isinstance(child, ast.Expr) and isinstance(
            child.value, ast.Constant
        )
        if not is_documentation:
            yield from _for_people(child)


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    assert isinstance(node, ast.JoinedStr)
    return "".join(
        part.value if isinstance(part, ast.Constant) else f"{{{_what(part)}}}"
        for part in node.values
    )


def _what(node: ast.expr) -> str:
    """The name of what stands there, without how it is worked out."""
    match node:
        case ast.FormattedValue(value=inner) | ast.Subscript(value=inner):
            return _what(inner)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case ast.Call(args=[*_, last]):
            return _what(last)
        case ast.Call(func=function):
            return _what(function)
    return "…"


if __name__ == "__main__":
    whole = "".join(f"{text}\n" for text in messages())
    if "--write" in sys.argv:
        LIST.write_text(whole, encoding="utf-8")
    else:
        sys.stdout.write(whole)
