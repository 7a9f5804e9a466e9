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

from stagetools.deploy.steps.release import said_by_probe
from stagetools.probe import probe


class Answers(socketserver.ThreadingUnixStreamServer):
    """Serves a list of answers, the last one again and again."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, path: str, answers: list[tuple[int, str]]) -> None:
        self.answers, self.asked = answers, []
        super().__init__(path, Handler)

    def get_request(self) -> tuple[socket.socket, object]:
        request, _ = super().get_request()
        return request, ("unix", 0)


class Handler(http.server.BaseHTTPRequestHandler):
    server: Answers

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Host"]))
        left = self.server.answers
        status, body = left.pop(0) if len(left) > 1 else left[0]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

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
