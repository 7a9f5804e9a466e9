"""For uvicorn and hypercorn: `stagetools.asgi:application`.

HTTP is Django's. The core app may have a module `websocket` with an ASGI application
`websocket_application`, and a module `lifespan` with a `lifespan_application`.
"""

import importlib
import importlib.util
from typing import Any

from aaa_env_setup import SYSTEM

from stagetools.serving import load_urls, refuse_unnamed

__all__ = ["application"]


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Hand each kind of connection to the one who answers it."""
    await _APPLICATIONS[scope["type"]](scope, receive, send)


async def _refuse_websocket(scope: Any, receive: Any, send: Any) -> None:
    """A close before the handshake is a 403 to the client."""
    await receive()
    await send({"type": "websocket.close"})


async def _trivial_lifespan(scope: Any, receive: Any, send: Any) -> None:
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return


def _of_core_app(module: str, otherwise: Any) -> Any:
    """`<core_app>.<module>.<module>_application`; an error within it is not hidden."""
    name = f"{SYSTEM.core_app}.{module}"
    if importlib.util.find_spec(name) is None:
        return otherwise
    return getattr(importlib.import_module(name), f"{module}_application")


def _applications() -> dict[str, Any]:
    refuse_unnamed(SYSTEM)
    from django.core.asgi import get_asgi_application

    from stagetools.web import rehearsal

    http = get_asgi_application()
    rehearsal.prepare()
    load_urls()
    return {
        "http": http,
        "websocket": _of_core_app("websocket", _refuse_websocket),
        "lifespan": _of_core_app("lifespan", _trivial_lifespan),
    }


_APPLICATIONS = _applications()
