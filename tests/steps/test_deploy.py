"""The whole of a deploy on a scripted server: which steps, in which order, and no other."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from stagetools.deploy import pipeline
from stagetools.deploy.commands import (
    compose,
    database,
    files,
    proxy,
    releases,
    server,
    site,
)
from stagetools.deploy.facts import Facts
from stagetools.deploy.layout import Layout
from stagetools.deploy.limits import HEALTH, KEEP
from stagetools.deploy.pipeline import Deploy
from stagetools.deploy.shell import Command
from stagetools.deploy.stage import Stage
from stagetools.deploy.steps import lock
from stagetools.deploy.steps import proxy as proxies
from stagetools.deploy.terminal import Terminal
from stagetools.deploy.tree import Manifest, read_tree
from stagetools.errors import StageError
from tests.steps.conftest import OLD
from tests.steps.scripted import ScriptedHost, failure

WELL = '{"well": true, "said": "200"}\n'
RUNS = "container running, exit code 0, restarts 0\n"
SICK = failure('{"well": false, "said": "503 no such table"}\n')


class Scripted:
    """A deploy, the server's answers by the command's short name, and what came of it."""

    def __init__(self, layout: Layout, config: Any, facts: Facts, root: Any) -> None:
        self.layout, self.config, self.facts = layout, config, facts
        self.output = io.StringIO()
        terminal = Terminal(Console(file=self.output, width=200), yes=True)
        self.host = ScriptedHost({})
        self.stage = Stage(self.host, layout, config, terminal)
        self.root = root
        self.tree = read_tree(root)

    def deploy(self, held: lock.Held) -> Deploy:
        return Deploy(self.stage, held, self.facts, self.root, self.tree)

    def script(self, deploy: Deploy, answers: dict[str, Any]) -> dict[str, str]:
        """Give the host an answer to each command; the commands' short names by text."""
        answers = {k: [*v] if isinstance(v, list) else v for k, v in answers.items()}
        commands = self.commands(deploy)
        answers = {"manifest": f"{'0' * 64} f old.py\n"} | answers
        for name, command in commands.items():
            self.host.script[command] = answers.get(name, "")
        assert answers.keys() <= commands.keys()
        return {text: name for name, text in commands.items()}

    def commands(self, deploy: Deploy) -> dict[str, str]:
        at, config, seen = self.layout, self.config, deploy.facts
        deploy.facts = replace(seen, env="5e")  # as it is when the release is named
        new = deploy.new_name(deploy.fingerprint())
        deploy.facts = seen
        words = (str(at.socket(new)), "--limit", str(HEALTH.start))
        base = OLD if self.facts.release else ""
        built = {
            "look": server.look(at),
            "account": server.ensure_account(at),
            "install": server.install(DEBIAN),
            "daemon.json": server.daemon_json(),
            "set engine": server.set_engine(1, "live-restore"),
            "ensure proxy": proxy.ensure("cert_issuer internal", proxies.VERSION),
            "manifest": files.read_text(at.manifest(OLD)),
            "receive": files.receive_tree(at, new, base=base),
            "build": compose.build(at, new),
            "start": compose.start_beside(at, new, serving=base),
            "probe": compose.probe(
                "new-id", *words, "--refusals", str(HEALTH.refusals)
            ),
            "last lines": compose.last_lines("new-id", 15),
            "discard": compose.discard("new-id"),
            "plan": database.run(at, new, "plan"),
            "rehearse": database.run(at, new, "rehearse"),
            "snapshot": database.run(at, new, "snapshot", f"before-{new}"),
            "migrate": database.run(at, new, "migrate"),
            "claim": proxies.claim(at, config),
            "exception": proxy.except_site(at, ""),
            "switch": site.switch(at, new),
            "drain": site.drain(at, OLD),
            "switch back": site.switch_back(at, OLD, forget=new),
            "stop": compose.stop("old-id"),
            "prune": self.prune(new),
            "take away": self.prune(self.facts.release),
            "take both away": self.prune(f"{self.facts.release} {new}"),
            "visit": proxy.visit("new-id", "https://shop.test", HEALTH.certificate),
        }
        return {name: command.text for name, command in built.items()}

    def prune(self, serving: str) -> Command:
        cache = {"snapshots": KEEP.snapshots, "cache": KEEP.build_cache}
        return releases.prune(self.layout, serving=serving, keep=KEEP.releases, **cache)

    @property
    def steps(self) -> list[str]:
        """The titles of the steps that ended well, and ✗ before the one that did not."""
        found = re.findall(r"^([✓✗]) (\w+):", self.output.getvalue(), re.MULTILINE)
        return [title if mark == "✓" else f"✗ {title}" for mark, title in found]


DEBIAN = ("docker.io", "docker-cli", "docker-compose", "docker-buildx", "iptables", "ca-certificates")  # fmt: skip


@pytest.fixture
def root(tmp_path):
    (tmp_path / "manage.py").write_text("")
    return tmp_path


@pytest.fixture
def run(layout, config, root) -> Callable[..., tuple[Scripted, list[str]]]:
    """Deploy on a server as it stands; the commands that ran, by their short names."""

    def run(
        facts: Facts, error: str = "", **answers: Any
    ) -> tuple[Scripted, list[str]]:
        scripted = Scripted(layout, config, facts, root)
        with lock.hold(scripted.host, layout, "ann") as held:
            deploy = scripted.deploy(held)
            named = {name.replace("_", " "): said for name, said in answers.items()}
            names = scripted.script(deploy, named)
            if error:
                with pytest.raises(StageError, match=error) as caught:
                    deploy.run()
                scripted.error = caught.value
            else:
                deploy.run()
        scripted.change = deploy
        return scripted, [names[text] for text in scripted.host.ran[1:]]

    return run


def looked(ready: Facts) -> str:
    """What `look` prints of a server that is ready."""
    return (
        "os=debian\nos_version=13\nos_codename=trixie\nnow=20260131-080000\nnewest=\n"
        "cores=2\nmemory_kb=2097152\ndisk_free_kb=10485760\ndisk_size_kb=20971520\n"
        "systemd=yes\ndatabase=\nuid=998\ngid=997\nenv=5e\nhome_is_roots=yes\ndomains=\nrelease=\n"
        f"taken_ports=\nproxy_runs=yes\nauthority=cert_issuer internal\nproxy={ready.proxy}\n"
        f"proxy_version={ready.proxy_version}\n"
        "docker=28.0\ncompose=2.33\nbuildx=yes\n"
    )


GOES_WELL = {"start": "new-id\n", "probe": WELL, "last_lines": RUNS}
LIVE = ["claim", "exception", "switch", "drain", "last lines", "stop", "prune"]


def test_a_first_deploy_on_a_bare_server(run, bare, ready) -> None:
    scripted, ran = run(
        bare,
        look=[looked(ready), looked(ready)],
        migrate='{"migration": "shop.0001", "seconds": 0.1}\n{"migrated": 0.1}\n',
        account="created user shop_prod\n",
        **GOES_WELL,
    )
    assert scripted.steps == [
        *("Docker", "Account", "Upload", "Build", "Migrate", "Start"),
        *("Switch", "Drain", "Prune", "Visit"),
    ]
    assert ran == [
        *(
            "install",
            "daemon.json",
            "set engine",
            "account",
            "look",
            "receive",
            "build",
            "migrate",
            "start",
            "probe",
        ),
        *("claim", "exception", "switch", "prune", "visit"),
    ]
    assert scripted.change.migrations == ("shop.0001",)


def test_a_proxy_that_is_missing_is_made(run, ready) -> None:
    said = '{"migrated": 0}\n'
    scripted, ran = run(
        replace(ready, proxy_runs=False), look=looked(ready), migrate=said, **GOES_WELL
    )
    assert scripted.steps[:2] == ["Proxy", "Upload"]
    assert ran[:2] == ["ensure proxy", "look"]


def test_a_plain_change_is_started_at_once(run, deployed) -> None:
    scripted, ran = run(deployed, **GOES_WELL)
    assert scripted.steps == ["Upload", "Build", "Start", "Switch", "Drain", "Prune"]
    assert ran == ["manifest", "receive", "build", "start", "probe", *LIVE]


def test_what_has_not_changed_is_not_deployed(
    run, deployed, layout, config, root
) -> None:
    scripted = Scripted(layout, config, deployed, root)
    with lock.hold(scripted.host, layout, "ann") as held:
        fingerprint = scripted.deploy(held).fingerprint()
    same = replace(deployed, record=replace(deployed.record, fingerprint=fingerprint))
    scripted, ran = run(same)
    assert (scripted.steps, ran) == ([], [])
    assert not scripted.change.live_at


@pytest.mark.parametrize(
    "other",
    [{"env": "other"}, {"proxy": "other"}, {"containers": ()}, {"record": None}],
    ids=lambda other: next(iter(other)),
)
def test_whatever_differs_is_a_reason_to_deploy(
    deployed, layout, config, root, other
) -> None:
    scripted = Scripted(layout, config, deployed, root)
    with lock.hold(scripted.host, layout, "ann") as held:
        fingerprint = scripted.deploy(held).fingerprint()
        record = replace(deployed.record, fingerprint=fingerprint)
        scripted.facts = replace(deployed, record=record)
        assert scripted.deploy(held).nothing_changed()
        scripted.facts = replace(scripted.facts, **other)
        assert not scripted.deploy(held).nothing_changed()


@pytest.mark.parametrize("key", ["host", "user", "identity_file"])
def test_how_the_server_is_reached_is_no_reason(
    deployed, layout, config, root, key
) -> None:
    scripted = Scripted(layout, config, deployed, root)
    moved = Scripted(layout, replace(config, **{key: "other"}), deployed, root)
    with lock.hold(scripted.host, layout, "ann") as held:
        assert scripted.deploy(held).fingerprint() == moved.deploy(held).fingerprint()


PLAN = {"pending": ["shop.0002"], "breaking": [], "size": 9, "sqlite": True}
REHEARSED = (
    '{"copied": 0}\n{"migration": "shop.0002", "seconds": 1}\n{"rehearsed": 1}\n'
)
MIGRATES = {
    "plan": json.dumps(PLAN),
    "rehearse": REHEARSED,
    "snapshot": '{"snapshot": "/b/before.sqlite3"}',
    "migrate": '{"migration": "shop.0002", "seconds": 1}\n{"migrated": 1}\n',
    "start": ["new-id\n", "new-id\n"],
    "last_lines": ["no such table\n", RUNS],
}
TO_MIGRATE = [
    "manifest",
    "receive",
    "build",
    "start",
    "probe",
    "last lines",
    "plan",
    "discard",
]


def test_pending_migrations_are_rehearsed_and_kept_safe_first(run, deployed) -> None:
    scripted, ran = run(deployed, probe=[SICK, WELL], **MIGRATES)
    assert scripted.steps == [
        *("Upload", "Build", "Start", "Rehearse", "Snapshot", "Migrate", "Start"),
        *("Switch", "Drain", "Prune"),
    ]
    assert ran == [
        *TO_MIGRATE,
        "rehearse",
        "snapshot",
        "migrate",
        "start",
        "probe",
        *LIVE,
    ]
    switch = [text for text in scripted.host.sent if "current.sock" in text]
    assert json.loads(scripted.host.sent[switch[0]])["migrations"] == ["shop.0002"]


def test_a_rehearsal_that_fails_touches_nothing(run, deployed) -> None:
    answers = MIGRATES | {"rehearse": failure("UNIQUE constraint failed")}
    scripted, ran = run(deployed, "fail on a copy", probe=[SICK], **answers)
    assert ran == [*TO_MIGRATE, "rehearse", "take away"]
    assert scripted.steps[-1] == "✗ Rehearse"


def test_a_question_that_is_not_answered_with_yes_touches_nothing(
    run, deployed, monkeypatch
) -> None:
    def no(terminal: Terminal, question: str) -> None:
        raise StageError(question, untouched="Nothing.", remedy="Say yes.")

    monkeypatch.setattr(Terminal, "agree", no)
    plan = json.dumps(PLAN | {"breaking": [["shop.0002", "drops item.cost"]]})
    answers = MIGRATES | {"plan": plan}
    _, ran = run(deployed, "drops item.cost", probe=[SICK], **answers)
    assert ran[-2:] == ["rehearse", "take away"]


def test_a_snapshot_that_fails_stops_before_the_migration(run, deployed) -> None:
    answers = MIGRATES | {"snapshot": failure("disk full")}
    _, ran = run(deployed, "exit status|root@test", probe=[SICK], **answers)
    assert ran[-2:] == ["snapshot", "take away"]


@pytest.mark.parametrize(
    "plan", [failure("ImportError"), json.dumps(PLAN | {"pending": []})]
)
def test_an_unhealthy_release_never_serves(run, deployed, plan) -> None:
    scripted, ran = run(
        deployed,
        "not healthy: 503 no such table",
        start="new-id\n",
        probe=SICK,
        plan=plan,
        last_lines="Traceback\n",
    )
    assert ran == [*TO_MIGRATE, "take away"]
    assert scripted.steps == ["Upload", "Build", "✗ Start"]
    assert "goes on serving" in scripted.error.untouched


def test_an_image_that_cannot_be_built_is_not_started(run, deployed) -> None:
    scripted, ran = run(deployed, "could not be built", build=failure("ERROR"))
    assert ran == ["manifest", "receive", "build", "take away"]
    assert scripted.steps == ["Upload", "✗ Build"]


def test_a_release_that_crashes_after_the_switch_gives_way(run, deployed) -> None:
    crashed = "Traceback\ncontainer exited, exit code 1, restarts 0\n"
    scripted, ran = run(
        deployed,
        "ended after the switch",
        start="new-id\n",
        probe=WELL,
        last_lines=crashed,
    )
    assert ran[-4:] == ["last lines", "switch back", "discard", "take both away"]
    assert scripted.steps[-2:] == ["Switch", "✗ Drain"]


def test_a_connection_that_is_lost_stops_before_the_next_step(
    run, deployed, monkeypatch
) -> None:
    def does(held: lock.Held, what: str) -> None:
        held._holder.over = what == "Build"  # type: ignore[attr-defined]

    monkeypatch.setattr(lock.Held, "does", does)
    _, ran = run(deployed, "lock on the server was lost", **GOES_WELL)
    assert ran == ["manifest", "receive", "build"]


def test_ctrl_c_while_it_is_asked_leaves_no_container(
    layout, config, deployed, root, monkeypatch
) -> None:
    def interrupt(*words: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline.release, "probe", interrupt)
    scripted = Scripted(layout, config, deployed, root)
    with lock.hold(scripted.host, layout, "ann") as held:
        deploy = scripted.deploy(held)
        names = scripted.script(deploy, {"start": "new-id\n"})
        with pytest.raises(KeyboardInterrupt):
            deploy.run()
    assert names[scripted.host.ran[-1]] == "discard"


def test_a_full_disk_is_refused_before_anything_is_sent(run, deployed) -> None:
    _, ran = run(replace(deployed, disk_free=10**6), "disk has 1.0 MB free")
    assert ran == []


def test_the_lock_tells_each_step(run, deployed) -> None:
    scripted, _ = run(deployed, **GOES_WELL)
    heard = [text.strip() for text in scripted.host.holder.heard]
    assert [word for word in heard if word] == [*scripted.steps, "."]


def test_only_the_change_is_sent(run, deployed, root) -> None:
    (root / "more.py").write_text("1")
    before = Manifest(tuple(e for e in read_tree(root).entries if e.path != "more.py"))
    scripted, _ = run(deployed, manifest=before.text, **GOES_WELL)
    assert "1 of 2 files" in scripted.output.getvalue()


@pytest.mark.parametrize(
    ("newest", "name"),
    [
        ("", "20260131-080000"),
        ("20260131-075959-aaaaaaa", "20260131-080000"),
        ("20260131-080000-aaaaaaa", "20260131-080001"),
        ("20260201-000000-aaaaaaa", "20260201-000001"),  # the clock was put back
    ],
)
def test_a_new_name_sorts_after_every_name_before(
    layout, config, deployed, root, newest: str, name: str
) -> None:
    scripted = Scripted(layout, config, replace(deployed, newest=newest), root)
    with lock.hold(scripted.host, layout, "ann") as held:
        assert scripted.deploy(held).new_name("abcdef0123") == f"{name}-abcdef0"
