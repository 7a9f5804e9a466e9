"""`uvicorn asgi:application`"""

from aaa_env_setup import SYSTEM

from stagetools.serving import refuse_unnamed

refuse_unnamed(SYSTEM)  # a server never guesses what it is

from board import app as application  # noqa: E402, F401
