"""For gunicorn: `stagetools.wsgi:application`."""

from typing import Any

from aaa_env_setup import SYSTEM

from stagetools.serving import load_urls, refuse_unnamed

__all__ = ["application"]


def _application() -> Any:
    refuse_unnamed(SYSTEM)
    from django.core.wsgi import get_wsgi_application

    from stagetools.web import rehearsal
    from stagetools.web.bodies import guarded

    loaded = get_wsgi_application()
    rehearsal.prepare()
    load_urls()
    return guarded(loaded)


application = _application()
