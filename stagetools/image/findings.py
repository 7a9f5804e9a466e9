"""What works here and will be otherwise in the image, or on a server; told by `inv check`.

None of it ends a build: each is a line for somebody who knows whether it matters.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from stagetools.image.watching import Watch

__all__ = ["lines"]


def lines(root: Path, sources: dict[str, str], watch: Watch) -> Iterator[str]:
    """Each finding: what, and what to do."""
    from django.conf import settings

    replaced: dict[str, Any] = getattr(settings, "STAGETOOLS_REPLACED", {})
    is_strict = bool(getattr(settings, "WHITENOISE_MANIFEST_STRICT", True))
    for what, remedy in (
        *_unread(root, watch),
        *_unimported(root),
        *_unwritten(root, watch),
        *_uncollected(root, sources),
        *_unnamed(root, sources, is_strict=is_strict),
        *_unused_wsgi(root, replaced.get("WSGI_APPLICATION") or ""),
        *_unmigrated(settings.DATABASES),
    ):
        yield f"! {what}\n  → {remedy}"


Finding = tuple[str, str]
_SHOWN = 5  # of a kind; the others are counted


def _some(names: Iterable[str]) -> str:
    known = sorted(names)
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return ", ".join(known[:_SHOWN]) + more


# --- what git ignores is not in the image ---------------------------------------------


def _unread(root: Path, watch: Watch) -> Iterator[Finding]:
    for name in sorted(_ignored(root, watch.read)):
        remedy = "let git have it, or read it only where it is there"
        if Path(name).name.startswith(".env"):
            remedy = (
                "a server gets its values by `inv env.set NAME=VALUE`, a build by"
                " stand_in(…) in stagetools_project/settings.py"
            )
        yield (
            f"{watch.read[name]} reads {name}, which git ignores: the image lacks it",
            remedy,
        )


def _unimported(root: Path) -> Iterator[Finding]:
    """Modules that only this machine has, such as a `local_settings`."""
    files = [Path(getattr(m, "__file__", None) or "/") for m in sys.modules.values()]
    own = {str(file.relative_to(root)) for file in files if _is_own(file, root)}
    for name in sorted(_ignored(root, own)):
        yield (
            f"{name} is imported, which git ignores: the image lacks it",
            "put into stagetools_project/settings.py what a server needs of it",
        )


def _is_own(path: Path, root: Path) -> bool:
    """Whether it is the project's: an environment may stand in the same folder."""
    is_installed = "site-packages" in path.parts or path.is_relative_to(sys.prefix)
    return path.is_relative_to(root) and not is_installed


def _uncollected(root: Path, sources: dict[str, str]) -> Iterator[Finding]:
    files = [Path(source).resolve() for source in sources.values()]
    inside = {str(file.relative_to(root)) for file in files if _is_own(file, root)}
    if ignored := _ignored(root, inside):
        yield (
            f"static files that git ignores, so that the image lacks them: {_some(ignored)}",
            "build them in the image, by stagetools_project/build, or let git have them",
        )


def _ignored(root: Path, names: Iterable[str]) -> set[str]:
    """Those of the names that git ignores; none where there is no git."""
    try:
        done = subprocess.run(
            ["git", "check-ignore", "-z", "--stdin"],
            cwd=root,
            input="\0".join(n for n in names if not _is_beyond(root, n)).encode(),
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        return set()
    return {name for name in done.stdout.decode(errors="replace").split("\0") if name}


def _is_beyond(root: Path, name: str) -> bool:
    """Beyond a link, or in a submodule: git would answer for none of them."""
    folders = [root / folder for folder in Path(name).parents[:-1]]
    return any(f.is_symlink() or (f / ".git").exists() for f in folders)


def _unwritten(root: Path, watch: Watch) -> Iterator[Finding]:
    """A folder that the image has is made no more: that it is there is said first."""
    lost = {n: line for n, line in watch.met.items() if not _has_files(root, n)}
    for name, line in sorted((lost | watch.written).items()):
        yield (
            f"{line} writes {name}: on a server the project's folder cannot be written",
            "there it may write to /tmp, and to data/ and media/ of the installation:"
            " let a variable name the place, and set it with `inv env.set`",
        )


def _has_files(root: Path, folder: str) -> bool:
    """Whether there is a file in it that git has or would have; or there is no git."""
    words = ("ls-files", "--cached", "--others", "--exclude-standard", "--", folder)
    try:
        done = subprocess.run(
            ["git", *words], cwd=root, capture_output=True, check=False
        )
    except FileNotFoundError:
        return True
    return bool(done.stdout or done.returncode)


# --- names in templates ---------------------------------------------------------------

_COMMENT = re.compile(r"\{#.*?#\}|\{% *comment\b.*?\{% *endcomment *%\}", re.DOTALL)
_NAMED = re.compile(
    r"""(?:\{% *static +|\bstatic\( *)(["'])([^"'{}%]+[^"'{}%/])\1(?!\|)"""
)
_MOST = 1_000_000  # bytes; no person writes a larger template


def _unnamed(
    root: Path, sources: dict[str, str], *, is_strict: bool
) -> Iterator[Finding]:
    """Names in `{% static %}` that no collected file has.

    A slash in front is passed over by Django's storage, and by a strict manifest it is not.
    """
    passed_over = "" if is_strict else "/"
    for template in _templates(root):
        text = _COMMENT.sub("", template.read_text(encoding="utf-8", errors="replace"))
        named = {
            urlsplit(unquote(name)).path.strip().lstrip(passed_over)
            for _, name in _NAMED.findall(text)
        }
        if missing := named - sources.keys():
            yield (
                f"{template.relative_to(root)} names static files that are not there:"
                f" {_some(missing)}",
                "add each file, or build it in the image, by stagetools_project/build",
            )


def _templates(root: Path) -> list[Path]:
    """The project's own, and not those of packages in an environment below it."""
    from django.template import engines

    folders = {
        Path(folder).resolve() for e in engines.all() for folder in e.template_dirs
    }
    return _own_files(root, [folder for folder in folders if _is_own(folder, root)])


def _own_files(root: Path, folders: list[Path]) -> list[Path]:
    """But what npm or a build has put there."""
    every = {path for folder in folders for path in folder.rglob("*")}
    found = {
        str(path.relative_to(root))
        for path in every
        if "node_modules" not in path.relative_to(root).parts and path.is_file()
    }
    own = (root / name for name in sorted(found - _ignored(root, found)))
    return [path for path in own if path.stat().st_size <= _MOST]


# --- what the project has, and a server does not use ----------------------------------


def _unused_wsgi(root: Path, application: str) -> Iterator[Finding]:
    """A wsgi.py that does more than startproject's."""
    module = application.rpartition(".")[0]
    with suppress(ImportError, SyntaxError, UnicodeDecodeError):  # nobody imports it
        spec = find_spec(module) if module else None
        if spec and spec.origin and Path(spec.origin).is_relative_to(root):
            yield from _unusual(root, Path(spec.origin))


def _unusual(root: Path, file: Path) -> Iterator[Finding]:
    for node in ast.parse(file.read_text(encoding="utf-8-sig")).body:
        if not _is_usual(node):
            yield (
                f"{file.relative_to(root)}:{node.lineno} does more than start Django, and a"
                " server does not use it, but stagetools.wsgi",
                "put what a server needs of it into stagetools_project/settings.py",
            )
            return


_USUAL = re.compile(
    r"os\.environ\.setdefault\(|os\.environ\['DJANGO_SETTINGS_MODULE'\] ="
    r"|\w+ = get_[aw]sgi_application\(\)$"
)


def _is_usual(node: ast.stmt) -> bool:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return True
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_text or bool(_USUAL.match(ast.unparse(node)))


def _unmigrated(databases: dict[str, Any]) -> Iterator[Finding]:
    others = [
        alias
        for alias, database in databases.items()
        if alias != "default" and not (database.get("TEST") or {}).get("MIRROR")
    ]
    for alias in others:
        yield (
            f"DATABASES has {alias} besides default, which alone a deploy migrates, backs"
            " up and restores",
            f"after a deploy: inv manage 'migrate --database {alias}'",
        )
