"""What the proxy finds: domains and the link to the release that serves, on real files."""

import itertools
import shutil
import socket
import threading
import time
from contextlib import suppress

import pytest

from stagetools.deploy.commands import traffic
from tests.cases import one_fast
from tests.commands.machine import until


@pytest.fixture
def sites(machine, layout, other):
    for of in (layout, other):
        machine.at(of.run_dir).mkdir(parents=True, exist_ok=True)
    return machine


def claim(sites, of, *domains: str, tls: bool = True, max_body: int = 10**8) -> str:
    return sites.run(traffic.claim_domains(of, domains, tls=tls, max_body=max_body))


def hosts(sites, layout) -> dict[str, str]:
    folder = sites.at(layout.site_dir.parents[1] / "hosts")
    return {link.name: str(link.readlink()) for link in folder.iterdir()}


def test_each_domain_leads_to_the_site(sites, layout) -> None:
    claim(sites, layout, "a.test", "b.test")
    assert hosts(sites, layout) == {
        "a.test": "../sites/shop_prod",
        "b.test": "../sites/shop_prod",
    }
    assert (sites.at(layout.site_dir) / "site").read_text() == "a.test\nb.test\n"
    folder = sites.at(layout.site_dir.parents[1])
    assert (folder / "hosts/a.test/site").exists()


def test_a_second_claim_changes_nothing(sites, layout) -> None:
    claim(sites, layout, "a.test")
    before = hosts(sites, layout)
    claim(sites, layout, "a.test")
    assert hosts(sites, layout) == before


def test_a_domain_that_is_no_longer_named_is_let_go(sites, layout, other) -> None:
    claim(sites, other, "c.test")
    claim(sites, layout, "a.test", "b.test")
    claim(sites, layout, "b.test")
    assert hosts(sites, layout).keys() == {"b.test", "c.test"}


def test_one_domain_is_not_taken_for_the_part_of_another(sites, layout) -> None:
    claim(sites, layout, "a.test", "aa.test", "a.test.test")
    claim(sites, layout, "aa.test")
    assert hosts(sites, layout).keys() == {"aa.test"}


def test_a_domain_of_another_site_is_refused_and_nothing_is_claimed(
    sites, layout, other
) -> None:
    claim(sites, other, "b.test")
    claim(sites, layout, "old.test", tls=False)
    done = sites.attempt(
        traffic.claim_domains(layout, ["a.test", "b.test"], tls=True, max_body=10**8)
    )
    assert (done.returncode, done.stdout) == (traffic.TAKEN, b"b.test blog_prod\n")
    assert hosts(sites, layout) == {
        "b.test": "../sites/blog_prod",
        "old.test": "../sites/shop_prod",
    }
    assert (sites.at(layout.site_dir) / "site").read_text() == "old.test\n"
    assert not (sites.at(layout.site_dir) / "tls").exists()


def test_tls_is_a_file_that_the_proxy_looks_for(sites, layout) -> None:
    tls = sites.at(layout.site_dir) / "tls"
    claim(sites, layout, "a.test", tls=True)
    assert tls.exists()
    claim(sites, layout, "a.test", tls=False)
    assert not tls.exists()


@pytest.mark.parametrize(
    ("limit", "name"),
    [
        (10**8, "max_body_100000000_27"),
        (2**27, "max_body_134217728_27"),
        (1, "max_body_1_20"),
        (10**15, "max_body_1000000000000000_40"),
    ],
)
def test_the_name_of_a_file_says_the_largest_body(
    sites, layout, limit: int, name: str
) -> None:
    claim(sites, layout, "a.test", max_body=5)
    claim(sites, layout, "a.test", max_body=limit)
    found = sites.at(layout.site_dir).glob("max_body_*")
    assert [file.name for file in found] == [name]


def test_two_sites_that_want_one_domain_at_once_do_not_both_get_it(
    sites, layout, other
) -> None:
    done = []

    def want(of) -> None:
        done.append(
            sites.attempt(
                traffic.claim_domains(of, ["a.test"], tls=True, max_body=10**8)
            ).returncode
        )

    threads = [threading.Thread(target=want, args=(of,)) for of in (layout, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [0, traffic.TAKEN]


# --- the switch -------------------------------------------------------------------------


@pytest.fixture
def listen(sites, layout):
    """Bind a release's socket, as its container does."""
    bound = []

    def listen(release: str) -> socket.socket:
        # from within the folder: a socket's path has 107 bytes at most, says unix(7)
        path = sites.at(layout.run_dir) / f"{release}.sock"
        short = sites.root / "s"
        with suppress(FileExistsError):
            short.symlink_to(path.parent)
        server = socket.socket(socket.AF_UNIX)
        server.bind(f"{short}/{path.name}")
        server.listen()
        bound.append(server)
        return server

    yield listen
    for server in bound:
        server.close()


def serving(sites, layout) -> str:
    return str(sites.at(layout.current).readlink())


def test_a_switch_leads_to_the_release_and_records_it(sites, layout, listen) -> None:
    listen("R1")
    sites.run(traffic.switch(layout, "R1"), stdin=b'{"release": "R1"}')
    assert serving(sites, layout) == "run/R1.sock"
    assert sites.at(layout.record("R1")).read_text() == '{"release": "R1"}'


def test_a_release_that_does_not_listen_is_never_switched_to(
    sites, layout, listen
) -> None:
    listen("R1")
    sites.run(traffic.switch(layout, "R1"), stdin=b"{}")
    assert sites.attempt(traffic.switch(layout, "R2"), b"{}").returncode != 0
    assert serving(sites, layout) == "run/R1.sock"
    assert not sites.at(layout.record("R2")).exists()


def test_the_link_is_there_at_every_moment_of_a_switch(sites, layout, listen) -> None:
    for release in ("R1", "R2"):
        listen(release)
    sites.run(traffic.switch(layout, "R1"), stdin=b"{}")
    link, seen, over = sites.at(layout.current), set(), threading.Event()

    def watch() -> None:
        while not over.is_set():
            seen.add(str(link.readlink()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for release in ("R2", "R1", "R2"):
        sites.run(traffic.switch(layout, release), stdin=b"{}")
    over.set()
    watcher.join()
    assert seen <= {"run/R1.sock", "run/R2.sock"}
    assert not (link.parent / "next.sock").is_symlink()


def test_switching_back_forgets_the_release_that_failed(sites, layout, listen) -> None:
    for release in ("R1", "R2"):
        listen(release)
        sites.run(traffic.switch(layout, release), stdin=b"{}")
    sites.run(traffic.switch_back(layout, "R1", forget="R2"))
    assert serving(sites, layout) == "run/R1.sock"
    assert sites.at(layout.record("R1")).exists()
    assert not sites.at(layout.record("R2")).exists()  # no rollback leads to it


def test_a_switched_back_release_must_listen(sites, layout, listen) -> None:
    listen("R2")
    sites.run(traffic.switch(layout, "R2"), stdin=b"{}")
    done = sites.attempt(traffic.switch_back(layout, "R1", forget="R2"))
    assert done.returncode != 0
    assert serving(sites, layout) == "run/R2.sock"
    assert sites.at(layout.record("R2")).exists()


# --- visitors that wait -----------------------------------------------------------------

DOCKER = """
here=$(dirname "$said")
case "$1" in
  inspect) cat "$here/paused" 2>/dev/null || echo false ;;
  pause) echo true >"$here/paused" ;;
  unpause) test -f "$here/paused" || exit 1; rm "$here/paused" ;;
esac
"""


# The minute after a hold is over when the test says so.
MINUTE = 'test "$1" != 60 || until test -e "${said%/*}/over"; do /bin/sleep 0.01; done'


@pytest.fixture
def held(sites, layout, listen):
    """A release that serves, and one that is to come; then visitors wait."""
    sites.program("docker", DOCKER)
    for release in ("R1", "R2"):
        listen(release)
    sites.run(traffic.switch(layout, "R1"), stdin=b"{}")
    sites.run(traffic.hold(layout, "R1", "c1", 0))
    (sites.root / "paused").write_text("true\n")
    return sites


def sockets(sites, layout) -> set[str]:
    return {path.name for path in sites.at(layout.run_dir).iterdir()}


def test_held_visitors_find_no_socket_until_they_are_let_go(held, layout) -> None:
    assert sockets(held, layout) == {"R1.held", "R2.sock"}
    assert serving(held, layout) == "run/R1.sock"
    assert held.at(layout.hold_file).read_text() == "c1 R1\n"
    held.run(traffic.resume(layout))
    assert sockets(held, layout) == {"R1.sock", "R2.sock"}
    assert held.said[-1] == "docker unpause c1"
    assert not held.at(layout.hold_file).exists()


def test_the_proxy_is_told_for_whom_it_shall_be_patient(sites, layout, listen) -> None:
    """Where the file is missing it is: a site of an older version never says so."""
    sites.program("docker", DOCKER)
    sites.program("sleep", MINUTE)
    for release in ("R1", "R2"):
        listen(release)
    unheld = sites.at(layout.site_dir) / "unheld"
    sites.run(traffic.switch(layout, "R1"), stdin=b"{}")
    assert not unheld.exists()
    claim(sites, layout, "a.test")
    assert unheld.exists()
    sites.run(traffic.hold(layout, "R1", "c1", 0))
    assert not unheld.exists()
    claim(sites, layout, "a.test")  # as a deploy does before it switches
    assert not unheld.exists()
    sites.run(traffic.switch(layout, "R2"), stdin=b"{}")
    assert not unheld.exists()
    sites.run(traffic.resume(layout))
    assert (
        not unheld.exists()
    )  # all who waited come at once: it takes a while to serve them
    (sites.root / "over").touch()
    until(unheld.exists)


def test_the_proxy_is_patient_with_a_hold_that_follows_another(
    sites, layout, listen
) -> None:
    sites.program("docker", DOCKER)
    sites.program("sleep", MINUTE)
    setsid = shutil.which("setsid")
    sites.program("setsid", f'{setsid} --wait "$@"; echo "setsid ended" >>"$said"')
    listen("R1")
    sites.run(traffic.switch(layout, "R1"), stdin=b"{}")
    for _ in range(2):
        sites.run(traffic.hold(layout, "R1", "c1", 0))
        sites.run(traffic.resume(layout))
    sites.run(traffic.hold(layout, "R1", "c1", 0))
    (sites.root / "over").touch()
    until(lambda: sites.said.count("setsid ended") == 2)
    assert not (sites.at(layout.site_dir) / "unheld").exists()


def test_it_is_the_same_socket_that_comes_back(held, layout) -> None:
    folder = held.at(layout.run_dir)
    before = (folder / "R1.held").stat().st_ino
    held.run(traffic.resume(layout))
    assert (folder / "R1.sock").stat().st_ino == before


def test_letting_go_twice_or_where_nobody_waits_changes_nothing(held, layout) -> None:
    held.run(traffic.resume(layout))
    said = held.said
    held.run(traffic.resume(layout))
    assert held.said == said


def test_a_release_that_started_anew_meanwhile_keeps_its_new_socket(
    held, layout, listen
) -> None:
    """After a power cut, or a restart of the engine, gunicorn binds its socket again."""
    listen("R1")
    (held.root / "paused").unlink()  # and it is not paused
    folder = held.at(layout.run_dir)
    new = (folder / "R1.sock").stat().st_ino
    held.run(traffic.resume(layout))
    assert (folder / "R1.sock").stat().st_ino == new
    assert sockets(held, layout) == {"R1.sock", "R2.sock"}


def test_only_what_serves_is_held(held, layout) -> None:
    held.run(traffic.resume(layout))
    done = held.attempt(traffic.hold(layout, "R2", "c2", 0))
    assert done.returncode != 0
    assert sockets(held, layout) == {"R1.sock", "R2.sock"}
    assert not held.at(layout.hold_file).exists()


PLANTS = [
    lambda path: None,
    lambda path: path.write_text("no socket"),
    lambda path: path.mkdir(),
    lambda path: path.symlink_to("/run/other.sock"),
]


@pytest.mark.parametrize(
    ("plant", "plant_held"),
    one_fast(itertools.product(PLANTS, PLANTS), kind=lambda pair: pair[0]),
)
def test_a_site_that_has_taken_its_socket_away_can_be_held_and_let_go(
    held, layout, plant, plant_held
) -> None:
    """The account may write there, and its next deploy must heal it."""
    held.run(traffic.resume(layout))
    path = held.at(layout.run_dir) / "R1.sock"
    path.unlink()
    plant(path)
    plant_held(path.with_suffix(".held"))
    held.run(traffic.hold(layout, "R1", "c1", 0))
    assert not path.exists()
    assert not path.is_symlink()
    assert held.at(layout.hold_file).exists()
    held.run(traffic.resume(layout))
    assert sockets(held, layout) == {"R2.sock"}  # nothing that was planted comes back
    assert not held.at(layout.hold_file).exists()


def test_a_switch_ends_the_wait_and_the_held_release_goes(held, layout) -> None:
    held.run(traffic.switch(layout, "R2", held="c1"), stdin=b'{"release": "R2"}')
    assert serving(held, layout) == "run/R2.sock"
    held.run(traffic.resume(layout))
    assert held.said[-1] == "docker rm --force c1"
    assert sockets(held, layout) == {"R2.sock"}
    assert not held.at(layout.hold_file).exists()


@pytest.mark.parametrize("why", ["it goes on", "another is held", "nobody waits"])
def test_no_switch_where_something_may_have_been_written_since(
    held, layout, why: str
) -> None:
    """What the release before has written since it was copied would be lost."""
    if why == "it goes on":
        (held.root / "paused").write_text("false\n")
    elif why == "another is held":
        held.at(layout.hold_file).write_text("c0 R0\n")
    else:
        held.run(traffic.resume(layout))
    done = held.attempt(traffic.switch(layout, "R2", held="c1"), b"{}")
    assert done.returncode != 0
    assert serving(held, layout) == "run/R1.sock"
    assert not held.at(layout.record("R2")).exists()


def let_go(sites, layout) -> bool:
    """Whether the visitors are let go within seconds."""
    end = time.monotonic() + 10
    while time.monotonic() < end and sites.at(layout.hold_file).exists():
        time.sleep(0.05)
    return not sites.at(layout.hold_file).exists()


def test_the_server_lets_visitors_go_when_nobody_else_does(held, layout) -> None:
    """Their client sleeps, perhaps; the proxy would soon answer them 502."""
    held.run(traffic.resume(layout))
    held.run(traffic.hold(layout, "R1", "c1", 1))
    assert sockets(held, layout) == {"R1.held", "R2.sock"}
    assert let_go(held, layout)
    assert sockets(held, layout) == {"R1.sock", "R2.sock"}
    assert held.said[-1] == "docker unpause c1"
    late = held.attempt(traffic.switch(layout, "R2", held="c1"), b"{}")
    assert late.returncode == traffic.LATE
    assert serving(held, layout) == "run/R1.sock"


def test_the_end_of_one_wait_ends_no_other(held, layout) -> None:
    held.run(traffic.resume(layout))
    held.run(traffic.hold(layout, "R1", "c1", 1))
    held.run(traffic.resume(layout))
    held.run(traffic.hold(layout, "R1", "c1", 0))
    time.sleep(1.5)  # for the first one's end
    assert sockets(held, layout) == {"R1.held", "R2.sock"}


def test_the_end_of_a_wait_after_a_switch_changes_nothing(held, layout) -> None:
    held.run(traffic.resume(layout))
    held.run(traffic.hold(layout, "R1", "c1", 1))
    (held.root / "paused").write_text("true\n")
    held.run(traffic.switch(layout, "R2", held="c1"), stdin=b'{"release": "R2"}')
    time.sleep(1.5)
    assert serving(held, layout) == "run/R2.sock"
    assert held.at(layout.hold_file).exists()  # who switched removes the old release
    held.run(traffic.resume(layout))
    assert held.said[-1] == "docker rm --force c1"


# --- draining ---------------------------------------------------------------------------


def test_draining_an_idle_release_is_over_at_once(sites, layout) -> None:
    sites.at("/proc/net").mkdir(parents=True)
    sites.at("/proc/net/unix").write_text("0: 1 0 0 1 3 5 /run/other.sock\n")
    assert sites.run(traffic.drain(layout, "R1", 5)) == ""


# The kernel's list by name, and `ss` of it: the sockets' own files are 7 (ours) and 8.
SS = """
test "$1" != -Hxle || echo "u_str LISTEN $(cat "$(dirname "$said")/waiting") 9 NAME 3 * 0 <-> ino:7 dev:0/1"
test "$1" != -Hxe || cat "$(dirname "$said")/accepted"
"""


@pytest.fixture
def busy(sites, layout):
    """A release to whose name two connections lead."""
    name = f"{sites.at(layout.socket('R1'))}"
    sites.at("/proc/net").mkdir(parents=True)
    sites.at("/proc/net/unix").write_text(f"0: 1 0 0 1 3 5 {name}\n" * 2)
    sites.program("stat", "echo 7")
    sites.program("docker", "case $1 in ps) echo c1 ;; *) echo 42 ;; esac")
    sites.program("nsenter", 'test "$*" = "--target 42 --net ss -Hxle"; shift 3; "$@"')
    sites.program("ss", SS)
    (sites.root / "waiting").write_text("0")
    (sites.root / "accepted").write_text("")
    return sites


def accepted(busy, *inodes: int) -> None:
    lines = [f"u_str 0 0 NAME 3 * 5 <-> ino:{inode} dev:0/1\n" for inode in inodes]
    (busy.root / "accepted").write_text("".join(lines))


def test_a_drain_says_how_many_connections_stay(busy, layout) -> None:
    accepted(busy, 7, 7, 7)
    assert busy.run(traffic.drain(layout, "R1", 0)) == "busy 3\n"


def test_a_connection_that_nobody_has_accepted_yet_is_waited_for(busy, layout) -> None:
    """Only the listener knows of it, in its container's own network."""
    (busy.root / "waiting").write_text("2")
    assert busy.run(traffic.drain(layout, "R1", 0)) == "busy 2\n"


def test_a_neighbour_that_binds_the_same_name_holds_nothing_up(busy, layout) -> None:
    """Any container may: its image has such a folder, or a link of that name."""
    accepted(busy, 8, 8)
    assert busy.run(traffic.drain(layout, "R1", 5)) == ""


def test_where_sockets_have_no_files_the_name_counts(busy, layout) -> None:
    """A kernel without unix_diag; a release that has taken its own socket away."""
    busy.program("ss", "true")
    assert busy.run(traffic.drain(layout, "R1", 0)) == "busy 2\n"
