"""Which packages and which Python a project needs, read from its files.

`python -m stagetools.deploy.check.needs` prints what CI gives to `uv pip install`: what the image
installs, what `inv` needs, and what the project's tests need; with `groups`, what it gives to
`uv sync` where there is a uv.lock. The standard library alone.
"""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from stagetools.deploy.check.image import has_folder, has_git, locked
from stagetools.deploy.check.project import Problem, pyproject, text

__all__ = [
    "groups_of_tests",
    "main",
    "of_image",
    "of_tests",
    "problems",
    "problems_of_python",
    "python_of",
]

OURS = "stagetools_project/requirements.txt"
_DEPENDENCIES = re.compile(r"^dependencies *= *\[", re.MULTILINE)  # as the Dockerfile


def main() -> None:
    """Print the words, one after another."""
    root = Path()
    if sys.argv[1:] == ["groups"]:
        sys.stdout.write(" ".join(groups_of_tests(root)) + "\n")
        return
    words = [*of_image(root), "-r", OURS.replace(".txt", "-dev.txt"), *of_tests(root)]
    sys.stdout.write(" ".join(words) + "\n")


def of_image(root: Path) -> list[str]:
    """What the image installs, as words for `uv pip install`; uv.lock is installed before."""
    return [word for path in files_of_image(root) for word in ("-r", path)]


def files_of_image(root: Path) -> list[str]:
    """The files that the Dockerfile gives to uv, in its order."""
    if (root / "uv.lock").exists():
        return [OURS]
    has_list = _DEPENDENCIES.search(text(root / "pyproject.toml"))
    own = ["pyproject.toml"] if has_list else []
    own += ["requirements.txt"] if (root / "requirements.txt").is_file() else []
    return [*own, *([OURS] if (root / OURS).is_file() else [])]


_FOR_TESTS = ("test", "tests", "testing"), ("dev", "devel", "develop", "development")


def of_tests(root: Path) -> list[str]:
    """What the tests need: groups, extras and files that are called so, else developers'."""
    if (root / "uv.lock").exists():
        return []  # `uv sync` has installed them, and their groups
    for names in _FOR_TESTS:
        if found := [*_tables_called(root, names), *_files_called(root, names)]:
            return found
    return []


def groups_of_tests(root: Path) -> list[str]:
    """What `uv sync` takes besides its default groups: not all, which may conflict."""
    found = (_tables_called(root, names) for names in _FOR_TESTS)
    return next((words for words in found if words), [])


def _tables_called(root: Path, names: tuple[str, ...]) -> list[str]:
    tables = pyproject(root)
    extras = tables.get("project", {}).get("optional-dependencies", {})
    has_list = "pyproject.toml" in files_of_image(root)
    found = [
        f"--group={name}"
        for name in tables.get("dependency-groups", {})
        if name in names
    ]
    return found + [f"--extra={name}" for name in extras if name in names and has_list]


def _files_called(root: Path, names: tuple[str, ...]) -> list[str]:
    """requirements-test.txt, requirements/tests.txt, dev_requirements.txt and the like."""
    listed = sorted(
        [*root.glob("*requirements*.txt"), *root.glob("requirements/*.txt")]
    )
    called = [p for p in listed if set(re.split(r"[-_.]", p.stem)) & set(names)]
    return [w for path in called for w in ("-r", path.relative_to(root).as_posix())]


# --- Python ---------------------------------------------------------------------------

_HERE = re.compile(r"\A(?:cpython-)?(\d+\.\d+)")
_THERE = re.compile(r"^FROM python:(\d+\.\d+)", re.MULTILINE)
_PART = re.compile(r"\s*(>=|<=|==|!=|~=|<|>)\s*v?(\d+(?:\.\d+)*)(\.\*)?")
_KNOWN = ("3.14", "3.13", "3.12", "3.11")
_LATEST_PATCH = 99


def python_of(root: Path) -> str:
    """The image's version of Python; nothing where the Dockerfile names none."""
    found = _THERE.search(text(root / "Dockerfile"))
    return found[1] if found else ""


def problems_of_python(root: Path) -> Iterator[Problem]:
    """What is tested here runs there."""
    here, there = _HERE.search(text(root / ".python-version")), python_of(root)
    if here and there and here[1] != there:
        yield Problem(
            f".python-version says {here[1]}, and the Dockerfile {there}",
            f"for both: `FROM python:{here[1]}-slim AS base` in the Dockerfile,"
            f" or echo {there} >.python-version",
        )
    asked = str(pyproject(root).get("project", {}).get("requires-python", ""))
    if there and not allows(asked, there):
        yield Problem(
            f"pyproject.toml asks for Python {asked}, and the Dockerfile has {there}",
            f"`FROM python:{_fitting(asked) or 'VERSION'}-slim AS base` in the Dockerfile",
        )


def _fitting(asked: str) -> str:
    return next((version for version in _KNOWN if allows(asked, version)), "")


def allows(asked: str, version: str) -> bool:
    """Whether the newest patch of a version is within `requires-python`."""
    there = (*_numbers(version), _LATEST_PATCH)
    parts = (_PART.match(part) for part in asked.split(","))
    return all(_holds(there, part) for part in parts if part)


def _holds(there: tuple[int, ...], part: re.Match[str]) -> bool:
    sign, bound = part[1], _numbers(part[2])
    same = there[: min(len(bound), 2)] == bound[:2]
    match sign:
        case ">=":
            return there >= bound
        case "~=":
            return there >= bound and there[: len(bound) - 1] == bound[:-1]
        case ">":
            return there > bound
        case "<":
            return there < bound
        case "<=":
            return there < bound or same
        case "==":
            return same
    return not (same and part[3])  # != speaks of whole versions with .* alone


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


# --- packages -------------------------------------------------------------------------

_OLDEST = (5, 2)
_PINNED = re.compile(r"^django\s*==\s*(\d+)\.(\d+)[\w.]*", re.IGNORECASE | re.MULTILINE)
_INCLUDED = re.compile(r"^(?:-r|--requirement)[ =]*(\S+)", re.MULTILINE)
_OF_GIT = re.compile(r"^[^#\n]*\bgit\+\S+", re.MULTILINE)
_OF_A_FOLDER = re.compile(
    r"^(?:-e|--editable)\s+(?!git\+)\S+|^\.{1,2}/\S*|^\.(?:\[\S*)? *$|^[^#\n]*@ *file:\S+",
    re.MULTILINE,
)


def problems(root: Path) -> Iterator[Problem]:
    """The image installs what uv.lock, pyproject.toml or requirements.txt declares."""
    if not _declares(root):
        yield Problem(
            "nothing says which packages the project needs, so the image would lack them",
            _how_to_declare(root),
        )
    for path, content in _requirements(root).items():
        yield from _problems_of(root, path, content)
    yield from _problems_of_lock(root)


def _declares(root: Path) -> bool:
    own = [path for path in files_of_image(root) if path != OURS]
    includes = _INCLUDED.search(text(root / OURS))
    return bool((root / "uv.lock").exists() or own or includes)


def _how_to_declare(root: Path) -> str:
    tools = pyproject(root).get("tool", {})
    if "dependencies" in tools.get("poetry", {}):
        return (
            "they are in Poetry's own table: poetry export --without-hashes"
            " --output requirements.txt (of poetry-plugin-export), at each change"
        )
    if (root / "Pipfile").is_file():
        return "they are in a Pipfile: pipenv requirements >requirements.txt, at each change"
    return f"write a requirements.txt, or name yours in {OURS}: -r ../requirements/production.txt"


def _requirements(root: Path) -> dict[str, str]:
    """The text of each file that the image reads, and of those that they include."""
    found: dict[str, str] = {}
    waiting = [root / path for path in files_of_image(root) if path.endswith(".txt")]
    while waiting:
        path = waiting.pop(0)
        name = os.path.relpath(path, root)
        if name in found or not path.is_file():
            continue
        found[name] = text(path)
        waiting += [path.parent / other for other in _INCLUDED.findall(found[name])]
    dependencies = pyproject(root).get("project", {}).get("dependencies", [])
    if "pyproject.toml" in files_of_image(root):
        found["pyproject.toml"] = "\n".join(map(str, dependencies))
    return found


def _problems_of(root: Path, path: str, content: str) -> Iterator[Problem]:
    pinned = _PINNED.search(content)
    if pinned and (int(pinned[1]), int(pinned[2])) < _OLDEST:
        yield Problem(
            f"{path} asks for {pinned[0]}; 5.2 is the oldest that is supported",
            "follow the release notes from one version to the next, then ask for 5.2",
        )
    for found in () if has_git(root) else _OF_GIT.findall(content):
        yield Problem(
            f"{path} asks for {found.strip()}, and the image has no git",
            "name an archive: NAME @ https://github.com/OWNER/NAME/archive/TAG.tar.gz; or"
            " install git in the Dockerfile, in the stage `dependencies`",
        )
    for found in _OF_A_FOLDER.findall(content):
        if has_folder(root, _place(found)):
            continue
        yield Problem(
            f"{path} asks for {found.strip()}: a folder that is not there yet when the"
            " image installs packages",
            "remove the line if it is the project itself, which the image has on its path;"
            " else COPY the folder in the Dockerfile, before the packages",
        )


def _place(line: str) -> str:
    """The path alone, of a line of requirements."""
    place = re.sub(r"^(?:(?:-e|--editable)\s+)?(?:[^/]*@ *)?", "", line.strip())
    return re.split(r"[\[;#\s]", place)[0]


def _problems_of_lock(root: Path) -> Iterator[Problem]:
    for package in locked(root):
        name, version = package.get("name", ""), str(package.get("version", ""))
        parts = re.match(r"(\d+)\.(\d+)", version)
        if name == "django" and parts and (int(parts[1]), int(parts[2])) < _OLDEST:
            yield Problem(
                f"uv.lock has django {version}; 5.2 is the oldest that is supported",
                "follow the release notes from one version to the next, then ask for 5.2",
            )
        if "git" in package.get("source", {}) and not has_git(root):
            yield Problem(
                f"uv.lock has {name} from a git repository, and the image has no git",
                'name an archive in pyproject.toml: { url = "https://…/TAG.tar.gz" }; or'
                " install git in the Dockerfile, in the stage `dependencies`",
            )


if __name__ == "__main__":
    main()
