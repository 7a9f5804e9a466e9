"""A headless Chromium that visits one site, and what its console says of each page."""

import json
import subprocess
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.sync.client import ClientConnection, connect

PATIENCE, SETTLE = 30.0, 1.0  # seconds for a page; after it, for what its scripts do
REPORTED = (
    "report only",
    "report-only",
)  # our policy, which keeps nothing from running
FILL = """(fields => {{
  const named = name => document.querySelector(`[name="${{name}}"]`);
  for (const [name, value] of Object.entries(fields)) {{
    named(name).value = value;
    named(name).dispatchEvent(new Event('change', {{bubbles: true}}));
  }}
  named({first}).form.requestSubmit();
}})({fields})"""


@dataclass(frozen=True)
class Visit:
    """One page: its status, errors in the console, and those that are not the site's."""

    path: str
    status: int
    errors: list[str]
    elsewhere: int  # of other hosts, which are out of reach here
    reported: int  # what a policy would have kept from running

    def __str__(self) -> str:
        first = f": {self.errors[0]}" if self.errors else ""
        return f"{self.path} {self.status}, {len(self.errors)} errors{first}"


class Chromium:
    """`with Chromium(…) as browser:` it knows one name only, and trusts any certificate."""

    def __init__(self, folder: Path, domain: str, address: str) -> None:
        self.domain, self.folder, self.number = domain, folder, 0
        self.events: list[dict[str, Any]] = []
        options = [
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--ignore-certificate-errors", "--remote-debugging-port=0"),
            f"--host-resolver-rules=MAP {domain} {address},MAP * ~NOTFOUND",
            f"--user-data-dir={folder}",
        ]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(["chromium", *options, "about:blank"], **quiet)

    def __enter__(self) -> "Chromium":
        try:
            self.socket = self._connect()
            for part in ("Page", "Log", "Runtime", "Network", "DOM"):
                self.send(f"{part}.enable")
        except BaseException:
            self.process.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):
            self.send("Browser.close")
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.process.kill()
        self.process.wait()

    def _connect(self) -> ClientConnection:
        said, until = self.folder / "DevToolsActivePort", time.monotonic() + PATIENCE
        while not (said.exists() and said.read_text().strip()):
            if time.monotonic() > until:
                raise RuntimeError("chromium does not start")
            time.sleep(0.1)
        port = int(said.read_text().split()[0])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
            pages = [page for page in json.load(answer) if page["type"] == "page"]
        return connect(pages[0]["webSocketDebuggerUrl"], max_size=None)

    # --- the protocol ----------------------------------------------------------------------

    def send(self, method: str, **values: Any) -> dict[str, Any]:
        """Call a method; its result. What happens meanwhile is kept in `events`."""
        self.number += 1
        words = {"id": self.number, "method": method, "params": values}
        self.socket.send(json.dumps(words))
        while True:
            said = json.loads(self.socket.recv(PATIENCE))
            if said.get("id") == self.number:
                if "error" in said:
                    raise RuntimeError(f"{method}: {said['error']['message']}")
                return dict(said["result"])
            self.events.append(said)

    def _listen(self, seconds: float, until: str = "") -> None:
        """Keep events for so long, or until one of that name."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                self.events.append(json.loads(self.socket.recv(left)))
            except TimeoutError:
                break
            if self.events[-1].get("method") == until:
                return
        if until:
            raise RuntimeError(f"no {until} within {seconds:.0f} s")

    def run(self, script: str) -> Any:
        """The value of a script in the page."""
        said = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in said:
            raise RuntimeError(_thrown(said["exceptionDetails"]))
        return said["result"].get("value")

    # --- what a visitor does ---------------------------------------------------------------

    def visit(self, path: str) -> Visit:
        self.events.clear()
        self.send("Page.navigate", url=f"https://{self.domain}{path}")
        return self._seen()

    def submit(self, path: str, fields: dict[str, str], **files: Path) -> Visit:
        """Fill a form in on `path`, send it, and see what comes."""
        self.visit(path)
        top = self.send("DOM.getDocument")["root"]["nodeId"]
        for name, file in files.items():
            query = {"nodeId": top, "selector": f'[name="{name}"]'}
            node = self.send("DOM.querySelector", **query)["nodeId"]
            self.send("DOM.setFileInputFiles", files=[str(file)], nodeId=node)
        self.events.clear()
        first = json.dumps(next(iter([*fields, *files])))
        self.run(FILL.format(fields=json.dumps(fields), first=first))
        return self._seen()

    def has(self, selector: str) -> bool:
        return bool(self.run(f"!!document.querySelector({json.dumps(selector)})"))

    def _seen(self) -> Visit:
        """The page that has come; the events may hold its arrival already."""
        if not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            self._listen(PATIENCE, until="Page.loadEventFired")
        self._listen(SETTLE)
        where = urlsplit(str(self.run("location.href")))
        found = [error for event in self.events if (error := _error(event))]
        errors = [(text, url) for text, url in found if not _is_reported(text)]
        here = [text for text, url in errors if self._is_ours(url)]
        return Visit(
            where.path,
            self._status(where.path),
            here,
            len(errors) - len(here),
            len(found) - len(errors),
        )

    def _is_ours(self, url: str) -> bool:
        """Not of another host, and not the icon that a browser asks for by itself."""
        split = urlsplit(url)
        return split.hostname in (None, self.domain) and split.path != "/favicon.ico"

    def _status(self, path: str) -> int:
        """Of the document at that path, or of the last one; 0 where none has come."""
        found = {}
        for event in self.events:
            got = event.get("params", {})
            is_answer = event.get("method") == "Network.responseReceived"
            if is_answer and got["type"] == "Document":
                where = urlsplit(got["response"]["url"]).path
                found[where] = int(got["response"]["status"])
        return found.get(path, [0, *found.values()][-1])


def _is_reported(text: str) -> bool:
    return any(words in text.lower() for words in REPORTED)


def _error(event: dict[str, Any]) -> tuple[str, str] | None:
    """An error's text, and the address that it is about."""
    got = event.get("params", {})
    match event.get("method"):
        case "Log.entryAdded" if got["entry"]["level"] == "error":
            url = got["entry"].get("url", "")
            return f"{got['entry']['text']} {url}".strip(), url
        case "Runtime.exceptionThrown":
            return _thrown(got["exceptionDetails"]), ""
        case "Runtime.consoleAPICalled" if got["type"] == "error":
            words = [a.get("value", a.get("description", "")) for a in got["args"]]
            return " ".join(map(str, words)), ""
    return None


def _thrown(details: dict[str, Any]) -> str:
    said = details.get("exception", {}).get("description") or details["text"]
    return str(said).splitlines()[0]
