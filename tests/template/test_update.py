"""`copier update`, from every released version to this one, whatever the user did meanwhile."""

import ast
import itertools
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import copier
import pytest
from jinja2 import Template

from tests.template.conftest import copy_of_template, git
from tests.template.history import (
    changed_lines,
    check_out,
    commit_all,
    files,
    is_marked,
    lost_paths,
    released,
    render,
    update,
)
from tests.template.matrix import ROOT

pytestmark = pytest.mark.slow
RELEASED = released()
OLD, NEW = "v0.0.1", "v0.0.2"  # of the synthetic history
# the short name and the domain stay what they were when the site gets another name
RENAMED = {
    "project_name": "Blue Heron",
    "project_slug": "mysite",
    "domain": "mysite.example.com",
}
ADOPTED = {"settings_module": "config.settings", "project_slug": "shop"}


@dataclass
class Story:
    """A project between two versions of its template, and what was done to it."""

    project: Path
    old: Path  # as the old version rendered it
    new: Path  # as the new one does, with the answers after the update
    answers: dict[str, str] = field(default_factory=dict)
    free: list[str] = field(default_factory=list)
    is_clean: bool = True

    def __post_init__(self) -> None:
        """Files whose lines the template changed; each is edited by one scenario only."""
        before, after = files(self.old), files(self.new)
        shared = [
            n for n in before if n in after and n.endswith((".py", ".html", ".md"))
        ]
        self.free = [n for n in shared if any(self.lines(n))]
        self.free += [n for n in shared if n not in self.free]

    def lines(self, name: str) -> list[int]:
        old, new = ((path / name).read_text() for path in (self.old, self.new))
        return list(changed_lines(old, new))

    def take(self, *, changed: bool) -> str:
        """A file that no other scenario has touched."""
        for name in self.free:
            if bool(self.lines(name)) == changed:
                self.free.remove(name)
                return name
        pytest.skip("the versions differ in too few files")

    def edit(self, name: str, line: int, text: str) -> None:
        lines = (self.project / name).read_text().splitlines()
        lines[line:line] = [text] if line < 0 else []
        if line >= 0:
            lines[line] = text
        (self.project / name).write_text("\n".join(lines) + "\n")

    def text(self, name: str) -> str:
        return (self.project / name).read_text()


Check = Callable[[Story], None]


def untouched(story: Story) -> Check:
    """Nothing at all."""
    return lambda after: None


def edits_far(story: Story) -> Check:
    """A line at the end of a file that the template did not change there."""
    name = story.take(changed=False)
    path = story.project / name
    path.write_text(path.read_text() + "# far from the template's lines\n")

    def check(after: Story) -> None:
        assert after.text(name).endswith("# far from the template's lines\n")
        assert not is_marked(after.text(name))

    return check


def edits_same_line(story: Story) -> Check:
    """Another text on a line that the template changed too."""
    name = story.take(changed=True)
    story.edit(name, story.lines(name)[0], "# the user's own line")

    def check(after: Story) -> None:
        assert is_marked(after.text(name))
        assert "# the user's own line" in after.text(name)
        unmerged = git(after.project, "ls-files", "--unmerged")
        assert name in unmerged

    return check


def deletes_a_file(story: Story) -> Check:
    """A file of the template's that the user has no use for."""
    name = story.take(changed=bool(any(map(story.lines, story.free))))
    (story.project / name).unlink()

    def check(after: Story) -> None:
        assert not (after.project / name).exists()

    return check


def adds_files(story: Story) -> Check:
    """New files beside the template's own, in its folders and in others."""
    names = ["stagetools_project/extra.py", "shelf/models.py", "notes.txt"]
    for name in names:
        (story.project / name).parent.mkdir(exist_ok=True)
        (story.project / name).write_text(f"# {name}\n")

    def check(after: Story) -> None:
        for name in names:
            assert after.text(name) == f"# {name}\n"

    return check


def changes_an_answer(story: Story) -> Check:
    """Another name for the site, given with the update."""
    story.answers["project_name"] = "Blue Heron"

    def check(after: Story) -> None:
        assert "project_name: Blue Heron" in after.text(".copier-answers.yml")

    return check


def commits_as_one_goes(story: Story) -> Check:
    """Several commits since the start, as a living project has."""
    for number in range(3):
        (story.project / "diary.txt").write_text(f"day {number}\n")
        commit_all(story.project, f"Day {number}")
    return lambda after: None


def leaves_the_tree_dirty(story: Story) -> Check:
    """An edit that is not committed: Copier refuses, and touches nothing."""
    story.is_clean = False
    (story.project / "uncommitted.txt").write_text("half a thought\n")
    return lambda after: None


SCENARIOS = [
    untouched,
    edits_far,
    edits_same_line,
    deletes_a_file,
    adds_files,
    changes_an_answer,
    commits_as_one_goes,
    leaves_the_tree_dirty,
]
PAIRS = [(untouched, untouched), *itertools.combinations(SCENARIOS, 2)]
# Each of them once. The pairs that are left are tried between two synthetic versions, whose
# project is smaller, and before a release, with RELEASE=1, between the real ones too.
EACH = [
    (untouched, untouched),
    (edits_far, edits_same_line),
    (deletes_a_file, adds_files),
    (changes_an_answer, commits_as_one_goes),
    (untouched, leaves_the_tree_dirty),
]
OF_RELEASED = PAIRS if os.environ.get("RELEASE") else EACH


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This template as its next version, and an older one that differs as versions do.

    Without the library, for it is rendered verbatim; an update takes half the time.
    """
    folder = copy_of_template(tmp_path_factory.mktemp("synthetic"), with_library=False)
    now = {name: (folder / name).read_text() for name in ("copier.yml", *AGED)}
    for name, (word, other) in AGED.items():
        assert word in now[name], (name, word)
        (folder / name).write_text(now[name].replace(word, other))
    extra = "\nmotto:\n  type: str\n  help: New?\n  default: None yet\n"
    commit_all(folder, "An older version", tag=OLD)
    for name, text in now.items():
        (folder / name).write_text(text + (extra if name == "copier.yml" else ""))
    (folder / "template/NEWS.md.jinja").write_text("# News\n\n{{ motto }}\n")
    commit_all(folder, "A newer version", tag=NEW)
    return folder


APP = "template/{{ project_slug if not settings_module }}"
AGED = {
    f"{APP}/views.py": ("ENTRIES_PER_PAGE = 10", "ENTRIES_PER_PAGE = 7"),
    f"{APP}/admin.py": ('"created", "name"', '"name", "created"'),
    f"{APP}/forms.py": ("A line for the", "One line for the"),
    "template/tasks.py": ("Show what the site has written", "Show the lines"),
    "template/DEPLOYING.md.jinja": ("What came with it", "What is new"),
    "template/aaa_script_setup.py": ("Makes a plain script", "Makes any script"),
    "template/aaa_env_setup.py.jinja": ("Says which installation", "Tells which one"),
}


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Render a version once for the same answers, and copy it from then on."""
    kept: dict[tuple[object, ...], Path] = {}

    def rendered(source: Path, ref: str, **answers: str) -> Path:
        key = (source, ref, *sorted(answers.items()))
        if key not in kept:
            folder = tmp_path_factory.mktemp("kept") / "project"
            kept[key] = render(source, folder, ref, **answers)
        copy = tmp_path_factory.mktemp("project") / "project"
        return shutil.copytree(kept[key], copy, symlinks=True)

    return rendered


def tell(
    rendered: Callable[..., Path], source: Path, versions: tuple[str, str],
    scenarios: tuple[Callable[[Story], Check], ...], **answers: str,
) -> None:  # fmt: skip
    """Live through the scenarios between two versions, update, and look at all of it."""
    old, new = versions
    later = RENAMED if changes_an_answer in scenarios else {}
    story = Story(
        rendered(source, old, **answers),
        rendered(source, old, **answers),
        rendered(source, new, **later | answers),
    )
    checks = [scenario(story) for scenario in scenarios if scenario is not dirty]
    commit_all(story.project, "What the user did")
    if dirty in scenarios:
        dirty(story)
        before = files(story.project)
        with pytest.raises(copier.errors.UserMessageError, match="dirty"):
            update(story.project, new, **story.answers)
        assert files(story.project) == before
        return
    update(story.project, new, **story.answers)
    for check in checks:
        check(story)
    assert_the_rest_is_fresh(story)


dirty = leaves_the_tree_dirty


def assert_the_rest_is_fresh(story: Story) -> None:
    """Every file that the user left alone is as the new version renders it."""
    start = git(story.project, "rev-list", "--max-parents=0", "HEAD").strip()
    touched = set(git(story.project, "diff", "--name-only", start, "HEAD").split())
    now, fresh = files(story.project), files(story.new)
    for name, text in fresh.items():
        if name not in touched:
            assert now[name] == text, name
    assert set(now) - touched <= set(fresh)


def names(pair: tuple[Callable[[Story], Check], ...]) -> str:
    return "+".join(scenario.__name__ for scenario in pair)


@pytest.mark.parametrize("pair", PAIRS, ids=names)
def test_an_update_keeps_what_the_user_did(synthetic, rendered, pair):
    tell(rendered, synthetic, (OLD, NEW), pair)


@pytest.mark.parametrize("pair", PAIRS[:1], ids=names)
def test_an_adopted_project_is_updated_too(synthetic, rendered, pair):
    tell(rendered, synthetic, (OLD, NEW), pair, **ADOPTED)


def test_a_new_question_takes_its_default_and_renders_its_file(synthetic, rendered):
    project = rendered(synthetic, OLD)
    update(project, NEW)
    assert "motto: None yet" in (project / ".copier-answers.yml").read_text()
    assert (project / "NEWS.md").read_text() == "# News\n\nNone yet\n"


def test_a_file_of_the_users_under_a_name_that_the_template_takes_is_not_lost(
    synthetic, rendered
):
    project = rendered(synthetic, OLD)
    (project / "NEWS.md").write_text("# My own news\n")
    commit_all(project, "News")
    update(project, NEW)
    text = (project / "NEWS.md").read_text()
    assert "# My own news" in text
    assert is_marked(text) or text == "# My own news\n"


def test_the_harness_sees_a_path_that_is_gone_and_a_lost_edit(synthetic, tmp_path):
    """What it must be able to refuse: a template file renamed between two versions."""
    source = tmp_path / "source"
    git(tmp_path, "clone", "--quiet", str(synthetic), str(source))
    git(source, "mv", f"{APP}/forms.py", f"{APP}/entry_forms.py")
    commit_all(source, "Rename a file", tag="v0.0.3")
    old = render(source, tmp_path / "old", NEW)
    new = render(source, tmp_path / "new", "v0.0.3")
    assert lost_paths(old, new) == {"mysite/forms.py"}
    project = render(source, tmp_path / "project", NEW)
    path = project / "mysite/forms.py"
    path.write_text(path.read_text() + "# mine\n")
    commit_all(project, "Mine")
    update(project, "v0.0.3")
    assert not path.exists(), "Copier keeps it now: let paths be renamed"


# --- the versions that were released --------------------------------------------------


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A template repository with a tag for each released version, and this tree on top."""
    folder = tmp_path_factory.mktemp("history")
    git(folder, "init", "--quiet", "--initial-branch=main")
    for version in RELEASED:
        empty(folder)
        check_out(version.commit, folder)
        commit_all(folder, version.name, tag=f"v{version.name}")
    empty(folder)
    now = copy_of_template(tmp_path_factory.mktemp("now"))
    shutil.copytree(
        now, folder, symlinks=True, dirs_exist_ok=True,
        ignore=shutil.ignore_patterns(".git"),
    )  # fmt: skip
    commit_all(folder, "The working tree")
    return folder


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    ("version", "pair"),
    [
        pytest.param(version, pair, id=f"{version.name}-{names(pair)}")
        for version in RELEASED
        for pair in OF_RELEASED
    ],
)
def test_a_released_version_updates_to_this_one(history, rendered, version, pair):
    tell(rendered, history, (f"v{version.name}", "HEAD"), pair)


LIBRARY = "stagetools/"  # whose modules may move, until version 1
# What older images and rendered files, and their owners' settings, call by name.
CALLED_BY_NAME = {
    *(f"{LIBRARY}{name}.py" for name in ("__main__", "adopted", "asgi", "config", "errors")),
    *(f"{LIBRARY}{name}.py" for name in ("gunicorn_conf", "manage", "probe", "utils")),
    *(f"{LIBRARY}{name}.py" for name in ("health", "media", "requests", "static")),
    *(f"{LIBRARY}{name}.py" for name in ("secret_key", "serving", "wsgi")),
    *(f"{LIBRARY}settings_defaults{of}.py" for of in ("", "_with_sqlite", "_with_postgresql")),
    *(f"{LIBRARY}{name}.py" for name in ("database/__main__", "image/source", "image/static")),
}  # fmt: skip
MINE = "a line of mine"


def can_be_edited(name: str) -> bool:
    """Whether a person would: not the library, the answers, nor what is no text of theirs."""
    is_ours = name.startswith(LIBRARY) or name == ".copier-answers.yml"
    return not is_ours and not name.endswith(BINARY)


def edit(path: Path) -> None:
    """A comment in a file's own language, at its end."""
    text = path.read_text()
    begin, end = COMMENTS.get(path.suffix, ("# ", ""))
    newline = "" if not text or text.endswith("\n") else "\n"
    path.write_text(f"{text}{newline}{begin}{MINE}{end}\n")


def last_line(path: Path) -> str:
    return ["", *path.read_text().splitlines()][-1]


BINARY = (".png", ".jpg", ".ico", ".woff2", ".gz")
COMMENTS = {
    ".html": ("{# ", " #}"),
    ".css": ("/* ", " */"),
    ".js": ("// ", ""),
    ".md": ("<!-- ", " -->"),
    ".svg": ("<!-- ", " -->"),
    ".txt": ("# ", ""),
}
SAME_MAJOR = [v for v in RELEASED if v.major == RELEASED[-1].major]


@pytest.mark.parametrize("version", SAME_MAJOR, ids=lambda version: version.name)
def test_no_rendered_path_is_lost_within_a_major_version(history, rendered, version):
    for answers in ({}, ADOPTED):
        try:
            old = rendered(history, f"v{version.name}", **answers)
        except ValueError as refused:  # a version may not have offered an answer yet
            assert "Not yet" in str(refused)  # noqa: PT017
            continue
        new = rendered(history, "HEAD", **answers)
        lost = lost_paths(old, new)
        assert not {name for name in lost if not name.startswith(LIBRARY)}
        assert lost.isdisjoint(CALLED_BY_NAME)


def named_in(project: Path) -> dict[str, set[str]]:
    """Modules of the library that a project's own files name, with what they import from it.

    tasks.py is not among them: an update brings the one that fits. But what a client asks of
    images is, for these may be newer.
    """
    found: dict[str, set[str]] = {}
    for name, content in files(project).items():
        is_text = not name.endswith(BINARY) and name != "tasks.py"
        text = content.decode() if is_text else ""
        words = re.findall(r'-m[", ]+(stagetools(?:\.\w+)*)', text)
        if not name.startswith(LIBRARY):
            words += re.findall(r"stagetools(?:[./]\w+)+(?!: )\b", text)
            for module, alias in imported_in(text) if name.endswith(".py") else ():
                path = module_of(project, f"{module}.{alias}")
                if path and path == module_of(
                    project, module
                ):  # so it is no module itself
                    found.setdefault(path, set()).add(alias)
        for word in words:
            if path := module_of(project, word):
                found.setdefault(path, set())
    return found


def imported_in(text: str) -> list[tuple[str, str]]:
    return [
        (node.module or "", alias.name)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name != "*"
    ]


def module_of(project: Path, word: str) -> str:
    """The file of the module that a word begins with, or nothing."""
    parts = re.split("[./]", word)
    while len(parts) > 1:
        path = "/".join(parts)
        for file in (f"{path}.py", f"{path}/__main__.py"):
            if (project / file).is_file():
                return file
        parts.pop()
    return f"{LIBRARY}__main__.py" if word == "stagetools" else ""


@pytest.mark.parametrize("version", SAME_MAJOR, ids=lambda version: version.name)
def test_what_the_files_of_a_released_version_call_by_name_is_there(
    history, rendered, version
):
    for answers in ({}, ADOPTED):
        try:
            old = rendered(history, f"v{version.name}", **answers)
        except ValueError:  # as above
            continue
        new = rendered(history, "HEAD", **answers)
        named = named_in(old)
        assert (
            f"{LIBRARY}probe.py" in named
        )  # by a client of that version, of any image
        assert named.keys() <= CALLED_BY_NAME
        for path, words in named.items():
            text = (new / path).read_text()
            assert [w for w in words if not re.search(rf"\b{w}\b", text)] == []


@pytest.mark.parametrize("answers", [{}, ADOPTED], ids=["new", "adopted"])
@pytest.mark.parametrize("version", SAME_MAJOR, ids=lambda version: version.name)
def test_an_edit_in_every_rendered_file_is_kept_and_the_old_layout_is_gone(
    history, rendered, version, answers
):
    old = f"v{version.name}"
    try:
        project, before = (rendered(history, old, **answers) for _ in range(2))
    except ValueError as refused:  # as above
        pytest.skip(str(refused))
    after = rendered(history, "HEAD", **answers)
    edited = [name for name in files(project) if can_be_edited(name)]
    for name in edited:
        edit(project / name)
    commit_all(project, "A line of mine in every file")
    update(project, "HEAD")
    kept = files(project)
    assert not [name for name in edited if MINE.encode() not in kept.get(name, b"")]
    # a file that ends otherwise now has the line beside the template's, and git says so
    met = {name for name in edited if is_marked(kept[name].decode())}
    ends = {
        name for name in edited if last_line(before / name) != last_line(after / name)
    }
    assert met <= ends
    library = {name for name in kept if name.startswith(LIBRARY)}
    assert library == {name for name in files(after) if name.startswith(LIBRARY)}


def test_a_deploy_toml_that_was_filled_in_has_no_conflict(history, rendered):
    """Everybody does that, and a deploy could not begin."""
    project = rendered(history, f"v{RELEASED[0].name}")
    path = project / "deploy.toml"
    mine = path.read_text()
    for old, new in {
        'host = ""': 'host = "203.0.113.7"',
        "mysite.example.com": "mysite.org",
        "# port = 22": "port = 2222",
        "# workers = 3": "workers = 4",
    }.items():
        assert old in mine
        mine = mine.replace(old, new)
    mine += '\n[stages.qual]\nhost = "203.0.113.8"\ndomains = ["qual.mysite.org"]\n'
    path.write_text(mine)
    commit_all(project, "Where it is deployed")
    update(project, "HEAD")
    assert path.read_text() == mine


@pytest.mark.parametrize("version", SAME_MAJOR, ids=lambda version: version.name)
def test_a_file_of_requirements_that_was_named_meets_no_line_of_ours(tmp_path, version):
    """Below the words that ask for it; merged as Copier merges, without a whole project."""
    name = "stagetools_project/requirements.txt"
    path = f"template/{name}.jinja"
    if path not in git(ROOT, "ls-tree", "-r", "--name-only", version.commit):
        pytest.skip("there was no adoption")
    then = Template(git(ROOT, "show", f"{version.commit}:{path}")).render(django="5.2")
    now = Template((ROOT / path).read_text()).render(django="5.2")
    asked, mine = "# name the file here: ", "-r ../requirements/production.txt\n"
    head, words, tail = then.partition(f"{asked}{mine}")
    texts = (f"{head}{words}{mine}{tail}", then, now)
    files = [tmp_path / word for word in ("mine", "then", "now")]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    merged = git(tmp_path, "merge-file", "--stdout", *map(str, files))
    assert merged == now.replace(words, words + mine)


def test_a_short_name_that_a_released_version_took_is_kept(history, rendered):
    """New ones may not end in a stage; a project that has one must go on being updated."""
    oldest = f"v{RELEASED[0].name}"
    project = rendered(history, oldest, project_slug="shop_prod")
    update(project, "HEAD")
    assert "project_slug: shop_prod" in (project / ".copier-answers.yml").read_text()
    assert (project / "shop_prod/models.py").exists()
