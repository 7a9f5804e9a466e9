"""A visitor who looks on all the while: which version answers, what fails, what was written."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.server.browser import Browser
from tests.server.machines import Server
from tests.server.project import Project

# What a test's project answers beside its guest book.
URLS = """

from django.http import HttpResponse
from {app}.models import Entry
from {app}.version import VERSION


def version(request):
    return HttpResponse(VERSION)


def write(request):
    Entry.objects.create(name="watch", message=request.GET["key"])
    return HttpResponse(VERSION, status=201)


write.csrf_exempt = True
urlpatterns += [path("version", version), path("write", write)]
"""


def give_version(project: Project, version: str, app: str = "mysite") -> None:
    """Let the project answer /version with this word, and take writes on /write."""
    urls = project.read("stagetools_project/urls.py")
    if "VERSION" not in urls:
        project.write("stagetools_project/urls.py", urls + URLS.replace("{app}", app))
    project.write(f"{app}/version.py", f'VERSION = "{version}"\n')


class Watch:
    """Asks for /version and writes to /write until it is told to stop."""

    def __init__(self, address: str, domain: str) -> None:
        self.browser = Browser(address, domain)
        self.versions: list[str] = []
        self.failures: list[str] = []
        self.acknowledged: list[str] = []
        self.requests = 0
        self._over = threading.Event()
        self._started = time.monotonic()
        self._threads = [
            threading.Thread(target=self._run, args=(ask,))
            for ask in (self._look, self._write)
        ]

    def start(self) -> "Watch":
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, ask: object) -> None:
        while not self._over.wait(0.1):
            try:
                ask()  # type: ignore[operator]
            except Exception as error:
                self._fail(f"{type(error).__name__}: {error}")

    def _fail(self, what: str) -> None:
        self.failures.append(f"{time.monotonic() - self._started:.2f} s: {what}")

    def _look(self) -> None:
        self.requests += 1
        answer = self.browser.get("/version")
        if answer.status != 200:
            self._fail(f"GET {answer.status}")
        elif answer.text not in self.versions[-1:]:
            self.versions.append(answer.text)

    def _write(self) -> None:
        self.requests += 1
        key = f"{id(self)}-{time.monotonic_ns()}"
        answer = self.browser.request("POST", f"/write?key={key}")
        if answer.status == 201:
            self.acknowledged.append(key)
        else:
            self._fail(f"POST {answer.status}")


@contextmanager
def watching(server: Server, domain: str) -> Iterator[Watch]:
    """Watch for as long as the block runs."""
    watch = Watch(server.address, domain).start()
    try:
        yield watch
    finally:
        watch.stop()


def written(server: Server, name: str = "mysite_prod") -> set[str]:
    """Every message in the guest book, read by the release that serves."""
    container = server.run(
        f"docker ps -q --filter label=stagetools.system={name} --filter label=com.docker.compose.oneoff=False | head -1"
    )
    app = name.rpartition("_")[0]
    code = f"from {app}.models import Entry; print(*Entry.objects.values_list('message', flat=True), sep=chr(10))"
    said = server.run(
        f'docker exec {container} python manage.py shell -v 0 -c "{code}"'
    )
    return set(said.splitlines())
