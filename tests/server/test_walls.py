"""One site's code, and its visitors, against the proxy and the other sites of the server."""

import contextlib
import hashlib
import http.client
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from stagetools.deploy.commands import traffic
from stagetools.deploy.layout import Layout
from stagetools.utils import get_expected_system_from_name
from tests.server.browser import Browser
from tests.server.machines import Server
from tests.server.project import Project
from tests.server.watch import give_version

DIGEST = """
import hashlib


def digest(request):
    body = request.body or request.environ["wsgi.input"].read()
    return HttpResponse(hashlib.sha256(body).hexdigest())


digest.csrf_exempt = True
urlpatterns += [path("digest", digest)]
"""
MB = 10**6
# What a site's own code puts in the place of its socket.
ENDLESS = """
import os, socket, threading
server = socket.socket(socket.AF_UNIX); server.bind("new"); os.chmod("new", 0o777)
server.listen(100); os.rename("new", SOCKET)
def answer(visitor):
    visitor.recv(9999); visitor.sendall(b"HTTP/1.1 200 OK\\r\\n")
    for n in range(40):
        visitor.sendall(b"X-%d: " % n + b"a" * 250_000 + b"\\r\\n")
    visitor.sendall(b"\\r\\n")
while True:
    threading.Thread(target=answer, args=(server.accept()[0],)).start()
"""


class Site:
    """A deployed site, seen from outside and from within its own container."""

    def __init__(self, server: Server, project: Project, name: str) -> None:
        self.server, self.project, self.name = server, project, name
        self.domain = f"{project.slug}.test"
        self.layout = Layout(get_expected_system_from_name(name))
        link = server.run(f"readlink {self.layout.current}")
        self.release = link.removeprefix("run/").removesuffix(".sock")
        of = f"label=stagetools.system={name}"
        self.container = server.run(f"docker ps -q --filter {of}").split()[0]
        self.socket = self.layout.socket(self.release)

    def inside(self, command: str) -> str:
        """Run a shell command in the container, as its user."""
        run = self.layout.run_dir
        return self.server.run(
            f"docker exec -i {self.container} sh -euc 'cd {run}; {command}'"
        )

    @contextlib.contextmanager
    def with_planted(self, command: str) -> Iterator[None]:
        """While the block runs, the command's work is where the socket was."""
        name = self.socket.name
        self.inside(f"mv {name} kept; {command.format(name)}")
        try:
            yield
        finally:
            self.inside(f"rm -rf {name}; mv kept {name}")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """While the block runs, visitors find no socket."""
        unheld = self.layout.site_dir / "unheld"
        self.server.run(f"rm {unheld}; mv {self.socket} {self.layout.run_dir}/held")
        try:
            yield
        finally:
            self.server.run(
                f"mv {self.layout.run_dir}/held {self.socket}; touch {unheld}"
            )

    def ask(
        self, path: str = "/version", *, patience: float = 20, **request: object
    ) -> tuple[int, str]:
        """Status and body; 0 where no answer comes in so many seconds."""
        method = str(request.pop("method", "GET"))
        try:
            connection = Browser(self.server.address, self.domain)._connect("https")
            with contextlib.closing(connection):
                connection.sock.settimeout(patience)
                connection.request(method, path, **request)  # type: ignore[arg-type]
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
        except TimeoutError:
            return 0, ""
        except (OSError, http.client.HTTPException) as error:
            return 0, repr(error)


@pytest.fixture(scope="module")
def server(new_server) -> Server:
    """It remembers which containers were ever on its own network."""
    server = new_server("walls", with_docker=True)
    server.run(
        "(docker events --filter type=network --filter event=connect"
        " --format '{{json .}}' >/var/connected 2>&1 &) ;"
        "(docker events --filter type=container --filter event=create"
        " --format '{{json .}}' >/var/created 2>&1 &)"
    )
    return server


@pytest.fixture(scope="module")
def make(new_project, server) -> Callable[..., Site]:
    def make(slug: str, **keys: object) -> Site:
        project = new_project(project_slug=slug)
        project.target(server, domain=f"{slug}.test", **keys)
        give_version(project, f"{slug} one", app=slug)
        urls = "stagetools_project/urls.py"
        project.write(urls, project.read(urls) + DIGEST)
        project.deploy()
        return Site(server, project, f"{slug}_prod")

    return make


@pytest.fixture(scope="module")
def blog(make) -> Site:
    return make("blog")


@pytest.fixture(scope="module")
def shop(make, blog) -> Site:
    return make("shop", max_body="2 MB")


def proxy(server: Server) -> str:
    """Its container; it is the same as long as it is not renewed."""
    of = "label=com.docker.compose.project=stagetools-proxy"
    (container,) = server.run(f"docker ps -q --no-trunc --filter {of}").split()
    return container


def memory_of_proxy(server: Server) -> int:
    """MB that it has, or had at the most."""
    form = "{{.State.Pid}}"
    pid = server.run(f"docker inspect --format '{form}' {proxy(server)}")
    line = server.run(f"grep VmHWM /proc/{pid}/status")
    return int(line.split()[1]) // 1000


# --- what a site plants -------------------------------------------------------------------


@pytest.mark.parametrize(
    "plant",
    [
        "ln -s /run/caddy/admin.sock {}",
        "ln -s ../../blog_prod/run/NEIGHBOUR.sock {}",
        "ln -s /web/hosts/blog.test/current.sock {}",
        "mkfifo {}",
        "mkdir {}",
        "echo nothing >{}",
        "true {}",
    ],
)
def test_nothing_in_the_place_of_a_socket_leads_anywhere(shop, blog, plant) -> None:
    """The first answered with the keys to the whole server, the second as another site."""
    with shop.with_planted(plant.replace("NEIGHBOUR", blog.release)):
        for path in ("/version", "/config/"):
            status, said = shop.ask(path, patience=1.5)
            assert (status, said) == (0, "")
        assert blog.ask() == (200, "blog one")
    assert shop.ask() == (200, "shop one")


def test_a_site_can_write_nothing_beside_its_socket(shop) -> None:
    """Neither the markers by which the proxy finds it, nor another one's folder."""
    for path in ("../site", "../tls", "../current.sock", "../../x", "../../../hosts/x"):
        with pytest.raises(
            RuntimeError, match=r"nonexistent|Permission|Read-only|No such"
        ):
            shop.inside(f"ln -s /tmp {path}")
    seen = shop.inside("ls /srv/stagetools/web/sites")
    assert seen.split() == ["shop_prod"]


def test_endless_headers_are_an_error_and_cost_the_proxy_little(shop, blog) -> None:
    before = memory_of_proxy(shop.server)
    code = ENDLESS.replace("SOCKET", repr(shop.socket.name))
    with shop.with_planted("true {}"):
        shop.server.run(
            f"cat >/run/endless.py <<'CODE'\n{code}\nCODE\n"
            f"docker exec -i -d -w {shop.layout.run_dir} {shop.container}"
            f' python -c "$(cat /run/endless.py)"; sleep 1'
        )
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: shop.ask(patience=5)[0], range(20)))
        assert blog.ask() == (200, "blog one")
    assert set(answers) <= {0, 502}  # the proxy tries a GET again for 30 s
    assert memory_of_proxy(shop.server) - before < 60


def test_a_stopped_site_is_told_in_words_and_soon(shop, blog) -> None:
    blog.server.run(f"docker stop --time 5 {blog.container}")
    began = time.monotonic()
    status, page = blog.ask()
    assert (status, 9 < time.monotonic() - began < 15) == (502, True)
    assert "This site does not answer at the moment" in page
    assert shop.ask() == (200, "shop one")
    blog.server.run(f"(sleep 2; docker start {blog.container}) >/dev/null 2>&1 &")
    assert blog.ask() == (200, "blog one")  # who comes while it starts, waits for it


def test_visitors_of_a_held_site_are_not_sent_away_so_soon(blog) -> None:
    blog.server.run(traffic.hold(blog.layout, blog.release, blog.container, 0).text)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(blog.ask, patience=25)
        time.sleep(13)
        assert not answer.done()
        blog.server.run(traffic.resume(blog.layout).text)
        assert answer.result() == (200, "blog one")
    unheld = blog.layout.site_dir / "unheld"
    blog.server.run(f"test ! -e {unheld} && touch {unheld}")  # as it is a minute later


def test_a_neighbour_with_a_sockets_name_does_not_hold_a_drain_up(shop, blog) -> None:
    """Its image may have such a folder; the name is all that /proc/net/unix tells."""
    listen = (
        "import os, socket, time; s = socket.socket(socket.AF_UNIX);"
        f's.bind("{shop.socket}"); os.chmod("{shop.socket}", 0o777); s.listen();'
        f'os.rename("{shop.socket}", "{shop.layout.run_dir}/{blog.socket.name}");'
        "time.sleep(15)"
    )
    user = shop.server.run("id -u blog_prod")
    with blog.with_planted("true {}"):
        shop.server.run(
            f"docker run --rm -d --user {user} --network none -v {blog.layout.run_dir}:"
            f"{shop.layout.run_dir} python:3.13-slim python -c '{listen}'; sleep 1"
        )
        waits = threading.Thread(target=blog.ask, kwargs={"patience": 4})
        waits.start()
        time.sleep(1)
        named = shop.server.run(f"grep -c {shop.socket} /proc/net/unix")
        assert named == "1"
        assert drain(shop) == ""
        waits.join()


def drain(of: Site) -> str:
    return of.server.run(traffic.drain(of.layout, of.release, 0).text)


# --- what visitors send -------------------------------------------------------------------


def slow_ones(of: Site, count: int, *, length: int, first: int) -> list[socket.socket]:
    """Visitors whose form comes at a byte in five seconds, after `first` bytes of it."""
    head = (
        f"POST / HTTP/1.1\r\nHost: {of.domain}\r\nReferer: https://{of.domain}/\r\n"
        f"Cookie: csrftoken={'a' * 32}; __Host-csrftoken={'a' * 32}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()

    def open_one(_: int) -> socket.socket:
        connection = Browser(of.server.address, of.domain)._connect("https").sock
        connection.sendall(head + b"a" * first)
        return connection

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(open_one, range(count)))


def worst_wait(of: Site, slow: list[socket.socket], seconds: float) -> float:
    """Of another visitor, while the slow ones go on."""
    worst, began, sent = 0.0, time.monotonic(), time.monotonic()
    while time.monotonic() - began < seconds:
        if time.monotonic() - sent > 5:
            sent = time.monotonic()
            for connection in slow:
                with contextlib.suppress(OSError):
                    connection.sendall(b"a")
        asked = time.monotonic()
        assert of.ask(patience=60)[0] == 200
        worst = max(worst, time.monotonic() - asked)
        time.sleep(0.1)
    return worst


def test_500_slow_forms_keep_nobody_waiting(shop) -> None:
    """Eight of them stopped a site for as long as they lasted."""
    before = memory_of_proxy(shop.server)
    slow = slow_ones(shop, 500, length=100_000, first=1)
    try:
        worst = worst_wait(shop, slow, 12)
    finally:
        for connection in slow:
            connection.close()
    cost = memory_of_proxy(shop.server) - before
    sys.stdout.write(
        f"500 slow forms: worst other visitor {worst:.2f} s, proxy +{cost} MB"
    )
    assert worst < 3
    assert cost < 150


def test_slow_uploads_that_have_all_threads_are_cut(shop) -> None:
    """Too large for the proxy to hold: the site's own guard ends them."""
    slow = slow_ones(shop, 60, length=MB, first=300_000)
    try:
        worst = worst_wait(shop, slow, 25)
        after = worst_wait(shop, [], 3)
    finally:
        for connection in slow:
            connection.close()
    sys.stdout.write(
        f"60 slow uploads: worst other visitor {worst:.2f} s, then {after:.2f} s"
    )
    assert worst < 15
    assert after < 3


def test_a_body_above_the_limit_is_refused_in_words_before_it_is_sent(
    shop, blog
) -> None:
    for of, limit in ((shop, 2 * MB), (blog, 100 * MB)):
        connection = Browser(of.server.address, of.domain)._connect("https")
        with contextlib.closing(connection):
            connection.putrequest("POST", "/digest")
            connection.putheader("Content-Length", str(400 * MB))
            connection.endheaders()
            answer = connection.getresponse()
            assert answer.status == 413
            assert f"takes {limit} bytes at most" in answer.read().decode()
    body = b"a" * (11 * MB // 5)  # Django itself takes 2.6 MB
    assert shop.ask("/digest", method="POST", body=body)[0] != 200
    assert blog.ask("/digest", method="POST", body=body) == (200, sha256(body))
    assert shop.ask("/digest", method="POST", body=body[:MB]) == (
        200,
        sha256(body[:MB]),
    )


def test_a_body_that_hides_its_length_is_cut(shop) -> None:
    pieces = (b"a" * 65_536 for _ in range(60))
    status, _ = shop.ask("/digest", method="POST", body=pieces, encode_chunked=True)
    assert status in (0, 413)
    assert shop.ask()[0] == 200


def test_a_new_limit_needs_no_other_proxy(shop, blog) -> None:
    """Both sites have theirs, and came to the same Caddy."""
    before = proxy(shop.server)
    shop.server.run(
        traffic.claim_domains(
            shop.layout, [shop.domain], tls=True, max_body=MB // 2
        ).text
    )
    body = b"a" * MB
    try:
        assert shop.ask("/digest", method="POST", body=body)[0] != 200
    finally:
        shop.server.run(
            traffic.claim_domains(
                shop.layout, [shop.domain], tls=True, max_body=2 * MB
            ).text
        )
    assert shop.ask("/digest", method="POST", body=body) == (200, sha256(body))
    assert proxy(shop.server) == before


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def test_bodies_that_begin_while_visitors_wait_arrive_whole_and_unmixed(
    shop, blog
) -> None:
    """With Caddy's own `request_buffers` some came with the bodies of others."""
    sizes = [10, 1_000, 100_000, 250_000, 300_000, MB, 3 * MB // 2] * 3
    bodies = [bytes([65 + n]) * (size + n) for n, size in enumerate(sizes)]

    # else it refuses such bodies for a minute after the slow ones of another test
    shop.server.run(f"docker restart --time 5 {shop.container}")
    assert shop.ask() == (200, "shop one")

    def send(of: Site, body: bytes) -> tuple[int, str]:
        return of.ask("/digest", method="POST", body=body, patience=40)

    with ThreadPoolExecutor(len(bodies) + 1) as pool:
        for of in (blog, shop, shop):
            list(pool.map(send, [of] * 9, bodies[:9]))  # what they leave in the proxy
            with of.held():
                waiting = [pool.submit(send, of, body) for body in bodies]
                time.sleep(5)
                assert not any(one.done() for one in waiting)
            answers = [one.result() for one in waiting]
            assert answers == [(200, sha256(body)) for body in bodies]


@pytest.mark.parametrize("host", ["SHOP.test", "Shop.Test:443", "shop.test.", "SHOP.TEST.:443"])  # fmt: skip
def test_capitals_and_a_final_dot_make_no_other_host(shop, host: str) -> None:
    assert shop.ask(headers={"Host": host}) == (200, "shop one")


@pytest.mark.parametrize("host", ["shop.test/run", "..", ".test", "shop.test%2Frun"])
def test_a_host_is_never_a_path(shop, host: str) -> None:
    assert shop.ask(headers={"Host": host})[0] in (400, 404)


# --- whose a program is -------------------------------------------------------------------


def test_only_the_proxy_was_ever_on_the_servers_own_network(shop) -> None:
    """The first visit was once made there, as root and with raw sockets."""
    events = [
        json.loads(line) for line in shop.server.run("cat /var/connected").splitlines()
    ]
    on_host = {
        event["Actor"]["Attributes"]["container"]
        for event in events
        if event["Actor"]["Attributes"]["name"] == "host"
    }
    created = [
        json.loads(line) for line in shop.server.run("cat /var/created").splitlines()
    ]
    images = {
        event["Actor"]["ID"]: event["Actor"]["Attributes"]["image"] for event in created
    }
    assert on_host
    assert {images[container] for container in on_host} == {"caddy:2"}


def test_a_foreign_caddy_on_the_ports_is_named_and_nothing_is_touched(
    shop, blog
) -> None:
    """It has the same name and half of the visitors: once that was a deploy with exit 0."""
    before = proxy(shop.server)
    shop.server.run(
        "docker run -d --name foreign --network host caddy:2"
        " caddy respond --listen :443 foreign; sleep 2"
    )
    try:
        done = shop.project.inv("deploy")
    finally:
        shop.server.run("docker rm --force foreign")
    assert done.status == 1
    assert "Another program has port 80 or 443: caddy." in done.text
    assert proxy(shop.server) == before
    assert Site(shop.server, shop.project, shop.name).container == shop.container
    done = shop.project.deploy()
    assert "Nothing has changed" in done.text
