"""What visitors see of an adopted project, and the one who logs in and uploads a picture."""

import json
import secrets
import struct
import zlib

from candidate import FILE
from chromium import Chromium, Visit
from desk import Desk, StumbleError

from tests.server.machines import Server

MOST_PAGES = 10
USER = {"username": "bench", "email": "bench@example.com"}
FIELDS = {"username": "username", "password": "password"}  # of the form, of the user


class Visitors:
    """A page that fails is a StumbleError; an error in its console is only told."""

    def __init__(self, desk: Desk, server: Server) -> None:
        self.desk, self.one, self.server = desk, desk.one, server
        self.told: list[str] = []
        asked = self.one.login.get("user", {})
        self.user = USER | asked | {"password": secrets.token_urlsafe(12)}

    def browser(self) -> Chromium:
        folder = self.desk.folder / f"chromium-{secrets.token_hex(3)}"
        return Chromium(folder, self.one.domain, self.server.address)

    def look(self) -> None:
        """The first page alone."""
        with self.browser() as browser:
            self._judge(browser.visit(self.one.pages[0]))

    def pages(self) -> str:
        """All pages; what is no matter of the site's, in a sentence."""
        with self.browser() as browser:
            seen = [browser.visit(path) for path in self.one.pages[:MOST_PAGES]]
        self._judge(*seen)
        elsewhere = sum(page.elsewhere for page in seen)
        reported = sum(page.reported for page in seen)
        return (
            f"{len(seen)} pages; {elsewhere} errors about other hosts, {reported} reports"
            " of a policy that only reports"
        )

    def login(self) -> None:
        """A made superuser, through the form in the browser."""
        values = json.dumps(self.user)
        make = f"get_user_model().objects.create_superuser(**{values})"
        code = f"from django.contrib.auth import get_user_model; {make}"
        self.desk.inv("manage", f"shell -v 0 -c '{code}'")
        with self.browser() as browser:
            self._log_in(browser)

    def _log_in(self, browser: Chromium) -> None:
        path, fields = self.one.login["path"], self.one.login.get("fields", FIELDS)
        values = {name: self.user[what] for name, what in fields.items()}
        self._judge(browser.submit(path, values))
        if browser.has("input[type=password]"):
            raise StumbleError(f"{path} asks for the password again")

    def upload(self) -> None:
        """A picture through a form, which the server then has in a file."""
        asked, picture = self.one.upload, self.desk.folder / f"{FILE}.png"
        picture.write_bytes(png())
        with self.browser() as browser:
            if self.one.login:
                self._log_in(browser)
            file = {asked["field"]: picture}
            self._judge(browser.submit(asked["path"], asked.get("values", {}), **file))
        system = f"/home/{self.one.slug}_prod"
        if not self.server.run(f"find {system} -name '{FILE}*'"):
            raise StumbleError(f"no {FILE}.png below {system}")

    def _judge(self, *seen: Visit) -> None:
        told = [f"console: {page}" for page in seen if page.errors]
        self.told += [one for one in told if one not in self.told]
        if failed := [str(page) for page in seen if not 200 <= page.status < 400]:
            raise StumbleError("; ".join(failed))


def png() -> bytes:
    """A red picture of 16 by 16."""
    rows = zlib.compress((b"\0" + b"\xff\0\0" * 16) * 16)
    head = struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0)
    parts = _chunk(b"IHDR", head) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum
