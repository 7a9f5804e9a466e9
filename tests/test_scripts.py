"""The shell that a deploy sends: in files of its own, and read by shellcheck."""

import ast
from pathlib import Path
from textwrap import dedent

import pytest

from stagetools.deploy.shell import script_text
from tasks import shellcheck

LIBRARY = Path(__file__).parents[1] / "stagetools"
LINES = 5  # more of them are a script of their own


def inline() -> list[tuple[str, str]]:
    """Each script that stands in a string, with the place where it does."""
    found = []
    for path in sorted(LIBRARY.rglob("*.py")):
        tree = ast.parse(path.read_text())
        texts = {
            target.id: text_of(node.value, {})
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            if is_call and node.func.id == "script" and node.args:  # type: ignore[attr-defined]
                place = f"{path.relative_to(LIBRARY)}, line {node.lineno}"  # type: ignore[attr-defined]
                found.append((place, text_of(node.args[0], texts)))  # type: ignore[attr-defined]
    return found


def text_of(node: ast.expr, texts: dict[str, str]) -> str:
    """What a constant expression says; a file of `scripts/` stands for its text."""
    match node:
        case ast.Constant(value=str(text)):
            return dedent(text.strip("\n"))
        case ast.BinOp(left=left, right=right):
            return f"{text_of(left, texts)}\n{text_of(right, texts)}"
        case ast.Call(func=ast.Name(id="script_text"), args=[ast.Constant(value=name)]):
            return script_text(name)
        case ast.Name(id=name):
            return texts.get(name, "")
    return ""


INLINE = [(place, text) for place, text in inline() if text]


@pytest.mark.parametrize(("place", "text"), INLINE, ids=[place for place, _ in INLINE])
def test_a_long_script_has_a_file_of_its_own(place: str, text: str) -> None:
    files = [path.read_text() for path in (LIBRARY / "deploy/scripts").glob("*.sh")]
    for whole in files:  # what it begins with is one
        text = text.removeprefix(whole)
    assert len(text.strip().splitlines()) <= LINES


@pytest.mark.slow  # and `inv check` asks it, too
def test_shellcheck_finds_nothing() -> None:
    assert shellcheck() == ""


def test_nor_in_what_stands_in_a_string(tmp_path: Path) -> None:
    for number, (place, text) in enumerate(INLINE):
        head = f"# shellcheck shell=sh disable=SC2086\n# {place}\nset -eu\n"
        (tmp_path / f"{number:02}.sh").write_text(f"{head}{text}\n")
    assert shellcheck(tmp_path) == ""


def test_shellcheck_would_find_something(tmp_path: Path) -> None:
    (tmp_path / "bad.sh").write_text("#!/bin/sh\nrm -rf $1/*\n")
    assert "SC2086" in shellcheck(tmp_path)
