"""stagetools.asgi under the servers that it is for: http, websocket and lifespan."""

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import unix_connect

from tests.cases import one_fast
from tests.library.sites import GUNICORN, Site

SERVERS = {
    "gunicorn": (*GUNICORN[:-1], "-k", "asgi", "stagetools.asgi:application"),
    "uvicorn": (
        "uvicorn",
        "--uds",
        "{socket}",
        "--lifespan",
        "on",
        "stagetools.asgi:application",
    ),
    "hypercorn": (
        "hypercorn",
        "--bind",
        "unix:{socket}",
        "stagetools.asgi:application",
    ),
}
WEBSOCKET = '''
from asgiref.sync import sync_to_async
from shop.models import Item


async def websocket_application(scope, receive, send):
    """Say how many items there are for each message, until the client leaves."""
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        count = await sync_to_async(Item.objects.count)()
        await send({"type": "websocket.send", "text": f"{event['text']} {count}"})
'''
LIFESPAN = '''
async def lifespan_application(scope, receive, send):
    """Greet and take leave."""
    while True:
        event = (await receive())["type"]
        print(event, flush=True)
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return
'''


@pytest.fixture(params=one_fast(SERVERS))
def words(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return SERVERS[request.param]


def test_the_core_apps_websocket_and_lifespan_modules_are_found(
    ready: Site, words: tuple[str, ...]
) -> None:
    (ready.root / "shop/websocket.py").write_text(WEBSOCKET)
    (ready.root / "shop/lifespan.py").write_text(LIFESPAN)
    with ready.serving(*words, WEB_CONCURRENCY="1") as running:
        assert running.get("/")[0] == 200
        with unix_connect(str(running.socket), "ws://shop.example.com/") as client:
            client.send("hello")
            assert client.recv(timeout=10) == "hello 0"
            client.send("again")
            assert client.recv(timeout=10) == "again 0"
    assert running.log.count("lifespan.startup\n") == 1
    assert running.log.count("lifespan.shutdown\n") == 1


def test_without_them_http_is_served_and_a_websocket_refused(
    ready: Site, words: tuple[str, ...]
) -> None:
    with ready.serving(*words) as running:
        status, headers, _ = running.get("/", X_Forwarded_For="203.0.113.9")
        assert (status, headers["x-frame-options"]) == (200, "DENY")
        with (
            pytest.raises(InvalidStatus) as refused,
            unix_connect(str(running.socket), "ws://shop.example.com/"),
        ):
            pass
        assert refused.value.response.status_code == 403
        assert '"GET /" 200' in running.log
        assert "203.0.113.9" in running.log
    assert "Traceback" not in running.log


def test_a_mistake_in_the_websocket_module_is_not_taken_for_its_absence(
    ready: Site,
) -> None:
    (ready.root / "shop/websocket.py").write_text("import no_such_module\n")
    done = ready.run("-c", "import stagetools.asgi")
    assert done.returncode == 1
    assert "no_such_module" in done.stderr
