"""A visitor: plain HTTP and HTTPS requests to one server, whatever DNS says."""

import contextlib
import http.client
import http.cookies
import re
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import urlencode


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def _trust_anybody() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _parts(values: dict[str, str], files: dict[str, bytes]) -> str:
    """A form with files, whose bytes http.client makes of the same characters."""
    form = 'Content-Disposition: form-data; name="{}"'
    parts = [f"{form.format(name)}\r\n\r\n{value}" for name, value in values.items()]
    parts += [
        f'{form.format(name)}; filename="a.png"\r\n\r\n{content.decode("latin-1")}'
        for name, content in files.items()
    ]
    return "".join(f"--PART\r\n{part}\r\n" for part in parts) + "--PART--\r\n"


class Browser:
    """Visits one site at one address, and keeps its cookies; `trust` checks certificates."""

    def __init__(
        self, address: str, domain: str, trust: ssl.SSLContext | None = None
    ) -> None:
        self.address, self.domain, self.trust = address, domain, trust
        self.cookies: http.cookies.SimpleCookie = http.cookies.SimpleCookie()

    def get(self, path: str, *, scheme: str = "https", **headers: str) -> Answer:
        return self.request("GET", path, scheme=scheme, headers=headers)

    def post_form(
        self, path: str, values: dict[str, str], files: dict[str, bytes] | None = None
    ) -> Answer:
        """Fill the form on `path` in, as a person does, and send it."""
        token = re.search(r'csrfmiddlewaretoken" value="([^"]+)"', self.get(path).text)
        assert token, "no form on the page"
        values = {"csrfmiddlewaretoken": token[1], **values}
        kind = "application/x-www-form-urlencoded"
        body = urlencode(values)
        if files:
            kind, body = "multipart/form-data; boundary=PART", _parts(values, files)
        headers = {"Content-Type": kind, "Referer": f"https://{self.domain}{path}"}
        return self.request("POST", path, body=body, headers=headers)

    def request(
        self, method: str, path: str, *, scheme: str = "https", body: str = "",
        headers: dict[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        with contextlib.closing(self._connect(scheme)) as connection:
            return self._ask(connection, method, path, body, headers or {})

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: str,
        headers: dict[str, str],
    ) -> Answer:
        sent = {"Host": self.domain, **headers}
        if self.cookies:
            sent["Cookie"] = "; ".join(
                f"{m.key}={m.value}" for m in self.cookies.values()
            )
        connection.request(method, path, body=body or None, headers=sent)
        with contextlib.closing(connection.getresponse()) as response:
            return self._read(response)

    def _read(self, response: http.client.HTTPResponse) -> Answer:
        answer = Answer(
            response.status,
            {k.lower(): v for k, v in response.getheaders()},
            response.read(),
        )
        for cookie in response.headers.get_all("Set-Cookie", []):
            self.cookies.load(cookie)
        return answer

    def _connect(self, scheme: str) -> http.client.HTTPConnection:
        port = 443 if scheme == "https" else 80
        connection = http.client.HTTPConnection(self.domain, port, timeout=30)
        plain: socket.socket = socket.create_connection(
            (self.address, port), timeout=30
        )
        if scheme == "https":
            context = self.trust or _trust_anybody()
            plain = context.wrap_socket(plain, server_hostname=self.domain)
        connection.sock = plain
        return connection
