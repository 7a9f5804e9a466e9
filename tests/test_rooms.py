"""The arrows of stagetools run one way: who may import whom, read from the sources."""

import ast
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[1] / "stagetools"
MODULES = {
    ".".join(path.relative_to(LIBRARY).with_suffix("").parts).removesuffix(
        ".__init__"
    ): path
    for path in sorted(LIBRARY.rglob("*.py"))
    if path != LIBRARY / "__init__.py"
}

# --- the rooms: what each may import of stagetools, besides itself ---------------------------

NAMING = {"errors", "naming.system"}
FINDING = NAMING | {"config", "naming.places", "utils"}
DEFAULTS = NAMING | {"config", "secret_key", "settings.csp", "settings.logs", "settings.mail"}  # fmt: skip
# Parts of the deploy that see no server and no file of its own.
PURE = {
    "deploy.shell",
    "deploy.limits",
    "deploy.facts",
    "deploy.hashed",
    "deploy.layout",
    "deploy.standing",
}
AT_THE_EDGE = {"deploy.backups", "deploy.replicas", "deploy.config", "deploy.host.host", "deploy.host.site", "deploy.tree"}  # fmt: skip
MAY_IMPORT: dict[str, set[str]] = {
    # the top: names that projects, images and servers call
    "errors": set(),
    "config": {"errors"},
    "probe": {"web.hashed"},
    "utils": NAMING | {"naming.places"},
    "adopted": {"naming.system", "settings.kept_logs", "settings.whitenoise"},
    "manage": NAMING | {"installed.commands", "naming.places"},
    "__main__": FINDING | {"naming.comparison", "naming.inspection"},
    "secret_key": NAMING | {"config"},
    "settings_defaults": DEFAULTS,
    "settings_defaults_with_sqlite": {"settings_defaults"},
    "settings_defaults_with_postgresql": {"settings_defaults"},
    "gunicorn_conf": {"settings.logs", "static"},
    "serving": NAMING,
    "wsgi": {"serving", "web.bodies", "web.rehearsal"},
    "asgi": {"serving", "web.rehearsal"},
    # and the middleware, which stands under its names in settings
    "health": set(),
    "static": set(),
    "media": set(),
    "requests": {"health", "settings.logs"},
    # what a name says, where it is looked for, and whether it is so
    "naming.system": {"errors"},
    "naming.places": NAMING | {"config"},
    "naming.comparison": {"naming.system"},
    "naming.inspection": NAMING | {"naming.comparison"},
    # what the settings are made of
    "settings.csp": {"errors"},
    "settings.kept_logs": set(),
    "settings.whitenoise": set(),
    "settings.logs": NAMING | {"config"},
    "settings.mail": NAMING | {"config"},
    # around the site, in the web container
    "web.bodies": set(),
    "web.hashed": set(),
    "web.rehearsal": set(),
    "web.storage": set(),
    # what an installed project has outside of its directory
    "installed.units": {"naming.system"},
    "installed.etc": {"naming.system", "installed.units"},
    "installed.commands": FINDING | {"installed.etc"},
    # in an image: while it is built, and when a deploy asks it
    "image": {"naming.system"},
    "database.protocol": {"errors"},  # what it answers, for both sides
    "database": {"database.protocol", "wsgi", "errors", "health", "web.rehearsal"},  # its __main__ starts the site on a copy
    # the deploy: words and numbers
    "deploy.shell": set(),
    "deploy.limits": set(),
    "deploy.facts": set(),
    "deploy.layout": {"naming.system"},
    "deploy.standing": set(),
    "deploy.hashed": set(),
    "deploy.outcome": set(),
    "deploy.console.lines": set(),
    "deploy.console.typed": {"errors"},
    "deploy.console.shown": set(),
    "deploy.console.failures": {"errors", "deploy.console.shown"},
    "deploy.console.terminal": {"errors", "deploy.outcome", "deploy.console.shown", "deploy.console.failures"},
    "deploy.scripts.sqlite": set(),  # which a server's own Python runs, as the scripts beside it
    "deploy.backups": {"errors"},
    "deploy.replicas": {"errors", "deploy.facts"},
    "deploy.config": {"errors", "deploy.backups", "deploy.replicas"},
    "deploy.tree": {"errors"},
    "deploy.commands": {"database.protocol", "deploy.hashed", "deploy.shell", "deploy.layout", "deploy.limits"},
    # the way to the server
    "deploy.host.host": {"deploy.shell"},
    "deploy.host.site": {"deploy.config", "deploy.host.host", "deploy.layout", "deploy.shell"},
    "deploy.host.keys": {"errors", "deploy.limits"},
    "deploy.host.streams": {"deploy.host.host"},
    "deploy.host.channels": {"errors", "deploy.host.host", "deploy.host.streams", "deploy.shell"},
    "deploy.host.ssh": {"errors", "deploy.config", "deploy.host.channels", "deploy.host.keys", "deploy.limits", "deploy.shell"},
    "deploy.host.fence": {"errors", "deploy.host.host"} | PURE,
    "deploy.host.dry": {"deploy.host.host", "deploy.shell", "deploy.console.terminal"},
    # what is done there, and told
    "deploy.steps": {"errors", "deploy.outcome", "database.protocol", "deploy.commands", "deploy.host.fence"} | PURE | AT_THE_EDGE,
    # what `inv` calls, from below to above
    "deploy.check.project": {"adopted"},  # what its files say, without running it
    "deploy.check.image": {"deploy.check.project"},
    "deploy.check.needs": {"deploy.check.image", "deploy.check.project"},
    "deploy.check.own_tests": {"adopted", "deploy.check.project"},
    "deploy.check.resolving": {"deploy.check.needs", "deploy.check.project"},
    "deploy.tasks.beside": {"errors"},
    "deploy.tasks.readiness": {"errors", "naming.system", "deploy.tasks.beside", *(f"deploy.check.{name}" for name in ("needs", "own_tests", "project", "resolving"))},
    "deploy.tasks.session": {"errors", "naming.system", "utils", "deploy.host.dry", "deploy.host.ssh", "deploy.console.terminal", "deploy.steps"} | PURE | AT_THE_EDGE,
    "deploy.tasks.change": {"errors", "deploy.outcome", "deploy.commands", "deploy.limits", "deploy.shell", "deploy.tasks.session", "deploy.steps", "deploy.console.failures", "deploy.console.terminal", "deploy.facts", "deploy.hashed", "deploy.standing"},
    "deploy.tasks.on_copy": {"errors", "deploy.outcome", "deploy.tasks.change", "deploy.commands", "deploy.limits", "deploy.steps", "deploy.console.terminal"},
}  # fmt: skip
# These may import all of the deploy, and the rest of the library nothing of it.
TASKS = {
    f"deploy.tasks.{name}"
    for name in (
        *("pipeline", "rollback", "relaunch", "inspect", "removal", "environment"),
        *(
            "backups.arrival",
            "backups.backing_up",
            "backups.before",
            "backups.cloning",
            "backups.elsewhere",
            "backups.local",
            "backups.lost",
            "backups.moving",
            "backups.pushing",
            "backups.restoring",
        ),
    )
}
PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"}
WEB = (
    "wsgi",
    "asgi",
    "gunicorn_conf",
    "web.bodies",
    "requests",
    "health",
    "static",
    "media",
    "probe",
)
WEB += tuple(name for name in MODULES if name.startswith("settings_defaults"))
SIDE_BY_SIDE = 12

MAY_USE = {
    "fabric": {"deploy.host.ssh"},
    "paramiko": {"deploy.host.channels", "deploy.host.keys"},
    "tomlkit": {"deploy.config"},
    "rich": {
        "deploy.console.failures",
        "deploy.console.shown",
        "deploy.console.terminal",
        "deploy.host.dry",
        "deploy.outcome",
    },
    "invoke": set(),  # the project's tasks.py alone
}


@cache
def imported(path: Path) -> set[str]:
    """The dotted names that a module imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}: relative"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@cache
def own(module: str) -> frozenset[str]:
    """The modules of stagetools that a module imports, without the package's name."""
    found = set()
    for name in imported(MODULES[module]):
        parts = name.split(".")
        if parts.pop(0) == "stagetools":
            while parts and ".".join(parts) not in MODULES:
                parts.pop()
            found |= {".".join(parts)} if parts else set()
    return frozenset(found)


def room(module: str) -> str:
    """The name under which the table has a module: its own, or its package's."""
    parts = module.split(".")
    while parts and ".".join(parts) not in MAY_IMPORT:
        parts.pop()
    return ".".join(parts)


def reached(module: str) -> set[str]:
    """Everything that importing a module may import."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        for name in own(waiting.pop()) - found:
            found.add(name)
            waiting.append(name)
    return found


@pytest.mark.parametrize("module", [name for name in MODULES if room(name)])
def test_a_room_imports_only_the_rooms_below_it(module: str) -> None:
    rooms = {room(name) or name for name in own(module)}
    assert rooms - {room(module)} <= MAY_IMPORT[room(module)]


def test_every_module_has_its_place() -> None:
    homeless = {name for name in MODULES if not room(name)} - PACKAGES
    assert homeless == TASKS


def test_a_package_of_rooms_imports_nothing_itself() -> None:
    """What it named would be reached by whoever wants one of its rooms."""
    assert not {name for name in PACKAGES if not room(name) and own(name)}


@pytest.mark.parametrize(
    "folder",
    sorted({path.parent for path in MODULES.values()} - {LIBRARY}),
    ids=lambda folder: str(folder.relative_to(LIBRARY)),
)
def test_a_folder_can_be_seen_at_a_glance(folder: Path) -> None:
    """The top alone may hold more: there stand the names that others call."""
    assert len(list(folder.glob("*.py"))) <= SIDE_BY_SIDE


@pytest.mark.parametrize(
    "module", [name for name in MODULES if not name.startswith("deploy")]
)
def test_a_module_has_one_job_and_room_for_it(module: str) -> None:
    """300 lines, and a sentence that says which job it is."""
    text = MODULES[module].read_text()
    assert len(text.splitlines()) <= 300
    assert ast.get_docstring(ast.parse(text))


def test_every_room_is_there() -> None:
    assert set(MAY_IMPORT) | TASKS | set(WEB) <= set(MODULES)


@pytest.mark.parametrize(
    "module", [name for name in MODULES if not name.startswith("deploy")]
)
def test_nothing_but_the_deploy_imports_the_deploy(module: str) -> None:
    assert not {name for name in reached(module) if name.startswith("deploy")}


@pytest.mark.parametrize("module", WEB)
def test_the_web_process_imports_neither_database_safety_nor_build_checks(
    module: str,
) -> None:
    tops = {name.partition(".")[0] for name in reached(module)}
    assert not tops & {"deploy", "database", "image", "adopted"}


def test_no_arrow_leads_back() -> None:
    list(TopologicalSorter({name: own(name) for name in MODULES}).static_order())


@pytest.mark.parametrize("library", MAY_USE)
def test_a_library_of_the_deployer_is_imported_in_one_place(library: str) -> None:
    users = {
        module
        for module, path in MODULES.items()
        if library in {name.partition(".")[0] for name in imported(path)}
    }
    assert users == MAY_USE[library]


def test_the_deploys_pure_rooms_use_the_standard_library_alone() -> None:
    for module, path in MODULES.items():
        if room(module) in PURE | {
            "database.protocol",
            "deploy.commands",
            "deploy.tree",
            "errors",
            "naming.system",
        }:
            tops = {name.partition(".")[0] for name in imported(path)}
            assert tops <= sys.stdlib_module_names | {"stagetools"}, module


def test_only_shell_joins_words_into_a_command() -> None:
    """A command that is made elsewhere could hold a value that nobody quoted."""
    for module, path in MODULES.items():
        if module.startswith("deploy.") and module != "deploy.shell":
            calls = [
                node
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "Command"
            ]
            assert not calls, module


def test_a_script_is_a_constant() -> None:
    """Its values come as "$1": an f-string in it may name a constant of the module alone."""
    for module, path in MODULES.items():
        if not module.startswith("deploy.commands."):
            continue
        tree = ast.parse(path.read_text())
        constants = {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            is_script = (
                isinstance(node, ast.Call) and getattr(node.func, "id", "") == "script"
            )
            for name in ast.walk(node.args[0]) if is_script else []:  # type: ignore[attr-defined]
                assert not isinstance(name, ast.Name) or name.id in constants, module
