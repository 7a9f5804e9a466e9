"""Asking a release how it is: on a unix socket that answers as the test says."""

import http.server
import json
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from stagetools.deploy.steps.release import engine_of, said_by_probe
from stagetools.probe import _head, probe, probe_page


class Answers(socketserver.ThreadingUnixStreamServer):
    """Serves a list of answers, the last one again and again."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, path: str, answers: list[tuple[int, str]]) -> None:
        self.answers, self.asked = answers, []
        self.pages: dict[str, list[tuple[int, str]]] = {}
        self.headers: list[dict[str, str]] = []
        super().__init__(path, Handler)

    def get_request(self) -> tuple[socket.socket, object]:
        request, _ = super().get_request()
        return request, ("unix", 0)


class Handler(http.server.BaseHTTPRequestHandler):
    server: Answers

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Host"]))
        self.server.headers.append(dict(self.headers))
        left = self.server.pages.get(self.path, self.server.answers)
        status, body = left.pop(0) if len(left) > 1 else left[0]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def do_HEAD(self) -> None:
        self.server.headers.append(dict(self.headers))
        self.send_response(404 if "no" in self.path else 200)
        self.send_header("X-Path", self.path)
        self.end_headers()

    def log_message(self, *words: object) -> None: ...


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short one: a socket's path has 107 bytes at most, says unix(7)."""
    with TemporaryDirectory(prefix="p") as short:
        yield Path(short)


@pytest.fixture
def serve(folder: Path) -> Iterator[Callable[..., Answers]]:
    running: list[Answers] = []

    def serve(*answers: tuple[int, str]) -> Answers:
        server = Answers(str(folder / "s"), list(answers))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        running.append(server)
        return server

    yield serve
    for server in running:
        server.shutdown()
        server.server_close()


def ask(folder: Path, *, limit: float = 5, refusals: int = 3) -> tuple[bool, str]:
    return probe(str(folder / "s"), limit=limit, refusals=refusals)


def test_one_good_answer_is_enough(folder, serve) -> None:
    server = serve((200, "ok"))
    assert ask(folder) == (True, "200")
    assert server.asked == [("/healthz", "localhost")]


def test_a_release_may_take_its_time_to_start(folder, serve) -> None:
    timer = threading.Timer(0.2, serve, [(200, "ok")])
    timer.start()
    assert ask(folder) == (True, "200")
    timer.join()


def test_one_refusal_is_forgiven(folder, serve) -> None:
    serve((503, "starting"), (503, "starting"), (200, "ok"))
    assert ask(folder) == (True, "200")


def test_the_third_refusal_ends_the_waiting_with_its_words(folder, serve) -> None:
    server = serve((503, "no such table: shop_item"))
    started = time.monotonic()
    assert ask(folder, limit=60) == (False, "503 no such table: shop_item")
    assert time.monotonic() - started < 5
    assert len(server.asked) == 3


def test_a_404_is_a_refusal_like_any_other(folder, serve) -> None:
    server = serve((404, "Not Found"))
    assert ask(folder, limit=60) == (False, "404 Not Found")
    assert len(server.asked) == 3


def test_no_answer_says_what_was_tried(folder) -> None:
    well, said = ask(folder, limit=0.1)
    assert not well
    assert said.startswith("no answer: FileNotFoundError")


def test_a_socket_that_nobody_listens_to_is_no_answer(folder) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "s"))
    well, said = ask(folder, limit=0.1)
    assert not well
    assert said.startswith("no answer: ConnectionRefusedError")


def test_an_answer_that_never_comes_does_not_outlast_the_limit(folder) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(folder / "s"))
        silent.listen()
        started = time.monotonic()
        well, _ = ask(folder, limit=0.2)
        assert not well
        assert time.monotonic() - started < 3


def test_a_long_refusal_is_cut(folder, serve) -> None:
    serve((500, "x" * 10**5))
    _, said = ask(folder)
    assert len(said) < 3000


def run(*words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-I", Path(__file__).parents[1] / "stagetools/probe.py", *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_the_command_line_says_it_in_one_line_of_json(folder, serve) -> None:
    serve((200, "ok"), (503, 'no\n"table"'))
    assert run(str(folder / "s")) == (0, '{"well": true, "said": "200"}\n')
    status, said = run(str(folder / "s"), "--refusals", "1")
    assert status == 1
    assert json.loads(said) == {"well": False, "said": '503 no\n"table"'}
    assert said_by_probe(said) == '503 no\n"table"'


# --- migrations that the release does not know --------------------------------------------

REMARK = (
    "ok, but the database has 1 migration that this release does not know: shop.0003_x"
)


def test_a_remark_is_told_and_is_no_refusal(folder, serve) -> None:
    serve((200, REMARK))
    assert ask(folder) == (True, f"200 {REMARK}")
    assert run(str(folder / "s"))[0] == 0


def test_exactly_well_is_one_without_a_remark(folder, serve) -> None:
    server = serve((200, REMARK))
    status, said = run(str(folder / "s"), "--exact", "--refusals", "1")
    assert status == 1
    assert json.loads(said) == {"well": False, "said": f"200 {REMARK}"}
    server.answers = [(200, "ok")]
    assert run(str(folder / "s"), "--exact") == (0, '{"well": true, "said": "200"}\n')


# --- pages --------------------------------------------------------------------------------


def test_a_page_that_answers_500_refuses_the_release(folder, serve) -> None:
    server = serve((200, "ok"))
    server.pages["/"] = [(500, "<h1>Server Error (500)</h1>")]
    status, said = run(str(folder / "s"), "--page", "/")
    assert status == 1
    assert json.loads(said) == {"well": False, "said": "GET / answers 500"}
    assert [path for path, _ in server.asked] == ["/healthz", "/", "/", "/"]


@pytest.mark.parametrize("status", [200, 204, 302, 400, 403, 404, 499])
def test_a_page_may_answer_anything_below_500(folder, serve, status: int) -> None:
    serve((200, "ok")).pages["/"] = [(status, "")]
    assert run(str(folder / "s"), "--page", "/")[0] == 0


def test_each_page_is_asked_as_a_visitor_asks_through_the_proxy(folder, serve) -> None:
    server = serve((200, "ok"))
    words = ("--page", "/", "--page", "/shop/", "--host", "qual.test", "--secure")
    assert run(str(folder / "s"), *words) == (0, '{"well": true, "said": "200"}\n')
    assert server.asked[1:] == [("/", "qual.test"), ("/shop/", "qual.test")]
    assert [h["X-Forwarded-Proto"] for h in server.headers[1:3]] == ["https"] * 2
    (engine,) = server.headers[3:]  # which only somebody in the container is told
    assert "X-Forwarded-For" not in engine


def test_the_first_bad_page_ends_it(folder, serve) -> None:
    server = serve((200, "ok"))
    server.pages |= {"/a": [(503, "")], "/b": [(500, "")]}
    words = ("--page", "/a", "--page", "/b", "--refusals", "1")
    _, said = run(str(folder / "s"), *words)
    assert json.loads(said)["said"] == "GET /a answers 503"
    assert ("/b", "localhost") not in server.asked


def test_one_bad_answer_of_a_page_is_forgiven(folder, serve) -> None:
    serve((200, "ok")).pages["/"] = [(500, "busy"), (200, "<h1>shop</h1>")]
    assert run(str(folder / "s"), "--page", "/")[0] == 0


def test_no_page_is_asked_of_a_release_that_is_not_well(folder, serve) -> None:
    server = serve((503, "starting"))
    assert run(str(folder / "s"), "--page", "/", "--refusals", "1")[0] == 1
    assert [path for path, _ in server.asked] == ["/healthz"]


def test_a_page_that_never_answers_refuses(folder) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(folder / "s"))
        silent.listen()
        well, said = probe_page(str(folder / "s"), "/", {}, limit=0.2)
    assert not well
    assert said.startswith("GET /: no answer: TimeoutError")


def test_a_release_that_has_ended_since_is_not_waited_for(folder) -> None:
    started = time.monotonic()
    well, said = probe_page(str(folder / "s"), "/", {})
    assert not well
    assert said.startswith("GET /: no answer: FileNotFoundError")
    assert time.monotonic() - started < 5


def test_a_page_that_streams_for_ever_is_judged_by_its_first_words(folder) -> None:
    def stream(listening: socket.socket) -> None:
        peer, _ = listening.accept()
        peer.recv(1000)
        peer.sendall(b"HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n")
        over.wait()
        peer.close()

    over = threading.Event()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "s"))
        listening.listen()
        thread = threading.Thread(target=stream, args=(listening,))
        thread.start()
        answer = probe_page(str(folder / "s"), "/", {}, limit=5)
        over.set()
        thread.join()
    assert answer == (True, "GET / answers 200")


# --- what it sends with hashed static files -----------------------------------------------


def test_one_static_file_is_asked_for_by_its_headers_alone(folder, serve) -> None:
    server = serve((200, "ok"))
    status, headers = _head(str(folder / "s"), "/static/a.css")
    assert (status, dict(headers)["X-Path"]) == (200, "/static/a.css")
    assert server.headers[-1]["X-Forwarded-For"] == "192.0.2.1"
    assert _head(str(folder / "s"), "/static/no.css")[0] == 404


@pytest.mark.parametrize(
    ("said", "engine"),
    [
        ('{"well": true, "said": "200", "database": "postgresql"}\n', "postgresql"),
        ('{"well": true, "said": "200"}\n', ""),
        ('{"well": true, "database": "a b\\u001b[2J"}\n', ""),
        ('{"well": true, "database": ["mysql"]}\n', ""),
        ("[]\n", ""),
        ("", ""),
    ],
)
def test_the_engine_is_one_word_whatever_a_site_says(said: str, engine: str) -> None:
    assert engine_of(said) == engine
