"""Ask a release how it is, from inside its own container: `python -m stagetools.probe`.

The standard library alone; exit 0 when the answer is 200, 1 when it is refused, with the last
status and body in one line of JSON on standard output.
"""

import argparse
import http.client
import json
import socket
import ssl
import sys
import time
from urllib.parse import urlsplit

__all__ = ["main", "probe"]

_BODY = 2000  # characters of a refusal that are shown


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
) -> tuple[bool, str]:
    """Ask until the answer is 200, `refusals` answers were another, or `limit` seconds are over.

    `target` is the path of a unix socket, or a URL that is asked at `address`.
    Returns whether it is well, and the last answer's status and body.
    """
    end = time.monotonic() + limit
    said, refused = "no answer", 0
    while time.monotonic() < end and refused < refusals:
        try:
            status, body = _ask(target, address, path, timeout=min(10, limit))
        except (OSError, http.client.HTTPException) as error:
            said = f"no answer: {type(error).__name__}: {error}"
        else:
            if status == 200:
                return True, "200"
            said, refused = f"{status} {body[:_BODY]}", refused + 1
        time.sleep(0.05)
    return False, said


def _ask(target: str, address: str, path: str, timeout: float) -> tuple[int, str]:
    url = urlsplit(target)
    connection: http.client.HTTPConnection
    if not url.scheme:
        connection = _UnixConnection(target, timeout)
    elif url.scheme == "https":
        connection = _TlsAt(url.hostname or "", address, timeout)
    else:
        connection = http.client.HTTPConnection(address, 80, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Host": url.hostname or "localhost"})
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace").strip()
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
        "--refusals", type=int, default=3, help="answers but 200 that are enough"
    )
    options = parser.parse_args()
    well, said = probe(
        options.target,
        address=options.at,
        limit=options.limit,
        refusals=options.refusals,
    )
    sys.stdout.write(json.dumps({"well": well, "said": said}) + "\n")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
