"""Which row of MIDDLEWARE is a class of the project's own that is made of WhiteNoise's.

Told from its source: to import it while the settings are being read would be too early.
"""

import ast
from collections.abc import Iterable
from importlib.machinery import PathFinder
from pathlib import Path

__all__ = ["own_whitenoise"]

_WHITENOISE = "WhiteNoiseMiddleware"


def own_whitenoise(middleware: Iterable[str]) -> str:
    """The dotted name of the first of them, or nothing."""
    for name in middleware:
        if not name.startswith(("django.", "whitenoise.")) and _is_made_of_it(name):
            return name
    return ""


def _is_made_of_it(name: str) -> bool:
    module, _, wanted = name.rpartition(".")
    text = _source(module)
    if _WHITENOISE not in text:
        return False
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError):
        return False  # Django says it in its own words, when it imports the class
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    return any(
        node.name == wanted
        and any(ast.unparse(b).endswith(_WHITENOISE) for b in node.bases)
        for node in classes
    )


def _source(module: str) -> str:
    """The text of a module that is a file; nothing of any other."""
    parts, folders, origin = module.split("."), None, None
    for count in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:count]), folders)
        if not spec:
            return ""
        folders, origin = spec.submodule_search_locations, spec.origin
    if not origin or not origin.endswith(".py"):
        return ""
    return Path(origin).read_text(encoding="utf-8-sig", errors="replace")
