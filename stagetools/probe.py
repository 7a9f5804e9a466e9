"""Ask a release how it is, from inside its own container: `python -m stagetools.probe`.

The standard library alone; exit 0 when the answer is 200, 1 when it is refused, with the last
status and body in one line of JSON on standard output. A release that is well also tells what
it sends with its hashed static files, and the engine of its database.

`--exact` refuses a release whose database has migrations that it does not know, too. Each
`--page` is asked once the release is well, and an answer of 500 and above refuses it.
"""

import argparse
import http.client
import json
import socket
import ssl
import sys
import time
from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from stagetools.web import hashed

__all__ = ["main", "probe", "probe_page"]

_BODY = 2000  # characters of a refusal that are shown
_REMARK = "ok, but"  # how stagetools.health begins what is no reason to refuse
_PAGE = 30  # seconds for a page, at most
_NO_HEADERS: Mapping[str, str] = {}


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _TlsAt(http.client.HTTPSConnection):
    """HTTPS to one address, with the name that the certificate is asked for.

    Whether browsers trust the authority is theirs to say: this asks only for an answer.
    """

    def __init__(self, name: str, address: str, timeout: float) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        super().__init__(name, timeout=timeout, context=context)
        self._address, self._tls = address, context

    def connect(self) -> None:
        plain = socket.create_connection((self._address, 443), self.timeout)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


def probe(
    target: str,
    *,
    address: str = "",
    limit: float = 90,
    refusals: int = 3,
    path: str = "/healthz",
    exact: bool = False,
) -> tuple[bool, str]:
    """Ask until the answer is 200, `refusals` answers were another, or `limit` seconds are over.

    `target` is the path of a unix socket, or a URL that is asked at `address`. `exact` refuses
    an answer of 200 that has a remark. Returns whether it is well, and the last answer's status
    and body.
    """
    end = time.monotonic() + limit
    said, refused = "no answer", 0
    while time.monotonic() < end and refused < refusals:
        try:
            status, body = _ask(target, address, path, timeout=min(10, limit))
        except (OSError, http.client.HTTPException) as error:
            said = f"no answer: {type(error).__name__}: {error}"
        else:
            has_remark = body.startswith(_REMARK)
            said = (
                "200"
                if status == 200 and not has_remark
                else f"{status} {body[:_BODY]}"
            )
            if status == 200 and not (exact and has_remark):
                return True, said
            refused += 1
        time.sleep(0.05)
    return False, said


def probe_page(
    target: str,
    page: str,
    headers: Mapping[str, str],
    *,
    address: str = "",
    limit: float = _PAGE,
    refusals: int = 3,
) -> tuple[bool, str]:
    """Ask for one page; `refusals` answers of 500 and above, or none in time, refuse it."""
    end = time.monotonic() + min(limit, _PAGE)

    said = f"GET {page}: no answer"
    while refusals and (left := end - time.monotonic()) > 0:
        try:
            status, _ = _ask(target, address, page, timeout=left, headers=headers)
        except (OSError, http.client.HTTPException) as error:
            said = f"GET {page}: no answer: {type(error).__name__}: {error}"
        else:
            said = f"GET {page} answers {status}"
            if status < 500:
                return True, said
        refusals -= 1
        time.sleep(0.05)
    return False, said


def _ask(
    target: str,
    address: str,
    path: str,
    timeout: float,
    headers: Mapping[str, str] = _NO_HEADERS,
) -> tuple[int, str]:
    url = urlsplit(target)
    connection: http.client.HTTPConnection
    if not url.scheme:
        connection = _UnixConnection(target, timeout)
    elif url.scheme == "https":
        connection = _TlsAt(url.hostname or "", address, timeout)
    else:
        connection = http.client.HTTPConnection(address, 80, timeout=timeout)
    try:
        named = {"Host": url.hostname or "localhost"}
        connection.request("GET", path, headers=named | dict(headers))
        response = connection.getresponse()
        # a stream may never end
        body = response.read1(_BODY) if response.length is None else response.read()
        return response.status, body.decode(errors="replace").strip()
    finally:
        connection.close()


def _engine(socket_path: str) -> str:
    """As `stagetools.health` has it; empty where it is not told."""
    try:
        _, headers = _head(socket_path, "/healthz", {"Host": "localhost"})
    except OSError:
        return ""
    return dict(headers).get("X-Stagetools-Database", "")


def _head(
    socket_path: str, path: str, headers: Mapping[str, str] | None = None
) -> hashed.Answer:
    connection = _UnixConnection(socket_path, timeout=5)
    try:
        connection.request("HEAD", path, headers=dict(headers or hashed.headers()))
        response = connection.getresponse()
        return response.status, response.getheaders()
    except http.client.HTTPException as error:
        raise OSError(f"{path}: {error}") from error
    finally:
        connection.close()


def main() -> int:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m stagetools.probe", description=__doc__
    )
    parser.add_argument("target", help="a unix socket's path, or a URL")
    parser.add_argument("--at", default="127.0.0.1", help="where the URL is asked")
    parser.add_argument("--limit", type=float, default=90, help="seconds")
    parser.add_argument(
        "--refusals",
        type=int,
        default=3,
        help="how many answers other than 200 are enough",
    )
    parser.add_argument(
        "--exact",
        action="store_true",
        help="refuse also where the database has migrations that the release does not know",
    )
    parser.add_argument(
        "--page", action="append", default=[], help="a path to ask for; repeatable"
    )
    parser.add_argument(
        "--host", default="", help="the name that the pages are asked of"
    )
    parser.add_argument(
        "--secure",
        action="store_true",
        help="ask for the pages as the proxy does by HTTPS",
    )
    options = parser.parse_args()
    well, said = probe(
        options.target,
        address=options.at,
        limit=options.limit,
        refusals=options.refusals,
        exact=options.exact,
    )
    headers = _headers(options.host, secure=options.secure)
    for page in options.page:
        if well:
            well, words = probe_page(
                options.target,
                page,
                headers,
                address=options.at,
                limit=options.limit,
                refusals=options.refusals,
            )
            said = said if well else words
    told: dict[str, Any] = {"well": well, "said": said}
    is_inside = well and not urlsplit(options.target).scheme
    if is_inside and (static := hashed.described(partial(_head, options.target))):
        told["static"] = static
    if is_inside and (engine := _engine(options.target)):
        told["database"] = engine
    sys.stdout.write(json.dumps(told) + "\n")
    return 0 if well else 1


def _headers(host: str, *, secure: bool) -> dict[str, str]:
    """As a visitor's request that came through the proxy."""
    named = {"Host": host} if host else {}
    return named | {
        "X-Forwarded-Proto": "https" if secure else "http",
        "X-Forwarded-For": "127.0.0.1",
        "User-Agent": "stagetools.probe",
    }


if __name__ == "__main__":
    sys.exit(main())
