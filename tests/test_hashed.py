"""What a release sends with its hashed files, asked inside and judged outside."""

import json
from pathlib import Path

import pytest

from stagetools.deploy.hashed import Sent
from stagetools.web import hashed

CSP = "default-src 'self'; img-src 'self' https://img.test/a"
STYLE = [
    ("Content-Type", 'text/css; charset="utf-8"'),
    ("Cache-Control", "max-age=315360000, public, immutable"),
    ("Access-Control-Allow-Origin", "*"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Strict-Transport-Security", "max-age=31536000"),
    ("Content-Security-Policy", CSP),
    *(("ETag", '"1-2"'), ("Last-Modified", "x"), ("Date", "x"), ("Server", "gunicorn")),
    *(("X-Request-ID", "1"), ("Content-Length", "3"), ("Connection", "close")),
]
PNG = [("Content-Type", "image/png"), *STYLE[1:]]


def parsed(*, status: int = 200, css=STYLE, **other) -> Sent | None:
    sent = {"css": [[status, css]], "png": [[200, PNG]], "pdf": [[404, []]], **other}
    told = {"well": True, "static": {"manifest": "a" * 64, "sent": sent}}
    return Sent.parse(json.dumps(told) + "\n")


def without(name: str) -> list[tuple[str, str]]:
    return [header for header in STYLE if header[0] != name]


def test_a_site_that_sends_what_the_proxy_can_send() -> None:
    assert parsed() == Sent("a" * 64, "max-age=31536000", CSP)
    assert parsed(css=[*STYLE, ("Vary", "Accept-Encoding")]) == parsed()


def test_a_site_without_policies_of_its_own() -> None:
    plain = [h for h in STYLE if not h[0].startswith(("Strict", "Content-Sec"))]
    found = parsed(css=plain, png=[[200, [PNG[0], *plain[1:]]]])
    assert found
    assert found.names == ("", "", "", "")


@pytest.mark.parametrize(
    "css",
    [
        *(without(name) for name, _ in STYLE[:8]),
        [*STYLE, ("Set-Cookie", "a=b")],
        [*STYLE, ("Vary", "Cookie")],
        [*STYLE, ("Permissions-Policy", "camera=()")],
        [*without("Cache-Control"), ("Cache-Control", "max-age=60, public")],
        [*STYLE, ("Content-Security-Policy", CSP)],
        [*without("Content-Security-Policy"), ("Content-Security-Policy", f"{CSP} x")],
    ],
    ids=lambda headers: str(headers[-1]),
)
def test_a_site_that_sends_anything_else_goes_on_sending(css) -> None:
    assert parsed(css=css) is None


@pytest.mark.parametrize(
    "csp", ["a|b", "{http.vars.x}", "a\u00e9", "'nonce-abc'", "a" * 721]
)
def test_a_policy_that_no_name_can_say(csp: str) -> None:
    css, png = (
        [*(h for h in of if h[0] != "Content-Security-Policy"), ("Content-Security-Policy", csp)]
        for of in (STYLE, PNG)
    )  # fmt: skip
    assert parsed(css=css, png=[[200, png]]) is None


def test_a_site_whose_files_are_not_for_everybody() -> None:
    assert parsed(status=403) is None
    assert parsed(png=[[200, PNG], [403, PNG]]) is None


def test_a_reply_that_is_nested_without_end_says_nothing() -> None:
    assert Sent.parse('{"static": ' + "[" * 100_000) is None


@pytest.mark.parametrize(
    "output", ["", "[]", "{}", '{"static": {}}', '{"static": {"manifest": "a", "sent": 1}}',
               '{"static": {"manifest": "../x", "sent": {}}}', '{"static": {"sent": {"css": [1, 2, 3]}}}'],
)  # fmt: skip
def test_what_says_nothing_of_it(output: str) -> None:
    assert Sent.parse(output) is None


def test_one_file_of_each_kind_in_each_folder_is_asked_for(tmp_path: Path) -> None:
    paths = {
        name: name
        for name in (
            *("b.0123456789ab.css", "a/b.0123456789ab.png", "x.css", "a b.css"),
            *("a/b.0123456789ab.css", "a/c.0123456789ab.css", "z/b.0123456789ab.css"),
        )
    }
    (tmp_path / "staticfiles.json").write_text(json.dumps({"paths": paths}))
    asked: list[str] = []

    def ask(path: str) -> hashed.Answer:
        asked.append(path)
        status = 403 if path.startswith("/static/z/") else 200
        return status, [("A", "b"), ("ETag", path), ("Date", f"{len(asked)}")]

    found = hashed.described(ask, tmp_path)
    assert [path.removeprefix("/static/") for path in asked] == [
        *("a/c.0123456789ab.css", "a/b.0123456789ab.png"),
        *("b.0123456789ab.css", "z/b.0123456789ab.css"),
    ]
    assert found["sent"] == {
        "css": [(200, [("A", "b")]), (403, [("A", "b")])],
        "png": [(200, [("A", "b")])],
    }
    assert len(found["manifest"]) == 64


@pytest.mark.parametrize("text", [None, "", "[]", '{"paths": 1}', '{"paths": {"a": 1}}'])  # fmt: skip
def test_a_release_without_a_manifest_says_nothing(tmp_path, text) -> None:
    if text is not None:
        (tmp_path / "staticfiles.json").write_text(text)
    assert hashed.described(lambda path: (200, []), tmp_path) == {}


def test_a_site_that_answers_slowly_says_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(hashed, "LIMIT", -1.0)
    paths = {"a.css": "a.0123456789ab.css"}
    (tmp_path / "staticfiles.json").write_text(json.dumps({"paths": paths}))
    assert hashed.described(lambda path: (200, []), tmp_path) == {}


def test_a_site_that_does_not_answer_says_nothing(tmp_path) -> None:
    paths = {"a.css": "a.0123456789ab.css"}
    (tmp_path / "staticfiles.json").write_text(json.dumps({"paths": paths}))

    def ask(path: str) -> hashed.Answer:
        raise ConnectionRefusedError(path)

    assert hashed.described(ask, tmp_path) == {}


def test_it_is_asked_as_a_stranger_would(monkeypatch) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", "a.test,b.test")
    monkeypatch.setenv("STAGETOOLS_TLS", "on")
    asked = hashed.headers()
    assert (asked["Host"], asked["X-Forwarded-Proto"]) == ("a.test", "https")
    assert asked["X-Forwarded-For"] == "192.0.2.1"
