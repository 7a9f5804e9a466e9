"""A visitors' counter with Starlette: what differs between stages comes from its name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aaa_env_setup import SYSTEM
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from stagetools.config import Config
from stagetools.secret_key import hosts_of

config = Config.of(SYSTEM.core_repo)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Count from the number that this stage is set to begin with."""
    app.state.visits = config.number("FIRST_VISIT", 0)
    yield


async def home(request: Request) -> JSONResponse:
    """Which installation answers, and how often it has."""
    request.app.state.visits += 1
    return JSONResponse(
        {"installation": SYSTEM.name, "visits": request.app.state.visits}
    )


hosts = [host.strip("[]") for host in hosts_of(SYSTEM, config)]
app = Starlette(
    debug=SYSTEM.is_debug,
    routes=[Route("/", home)],
    lifespan=lifespan,
    middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts)],
)
