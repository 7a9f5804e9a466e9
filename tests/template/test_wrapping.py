"""What `adopt()` makes of settings of every kind, without Django and without a project."""

import subprocess
import sys
from types import ModuleType

import pytest

from stagetools.adopted import adopt, stand_in
from stagetools.utils import get_expected_system_from_name
from tests.template.matrix import ROOT

FILES = "django.core.files.storage.FileSystemStorage"
HASHED = "whitenoise.storage.CompressedManifestStaticFilesStorage"
SHOWN = "stagetools.web.storage.StaticStorage"  # hashed, and no name ends a page
S3 = "storages.backends.s3.S3Storage"


@pytest.fixture
def defaults(tmp_path) -> ModuleType:
    """As little of the defaults as is looked at, with values that are told apart."""
    module = ModuleType("defaults")
    vars(module).update(
        SYSTEM=get_expected_system_from_name("shop_prod", core_repo="shop"),
        DEBUG=False,
        SECRET_KEY="ours",
        MEDIA_ROOT=tmp_path / "media",
        STATIC_ROOT=tmp_path / "static",
        STATIC_URL="/static/",
        SECURE_REFERRER_POLICY="same-origin",
        SECURE_CROSS_ORIGIN_OPENER_POLICY="same-origin",
        X_FRAME_OPTIONS="DENY",
        CSRF_TRUSTED_ORIGINS=["https://ours.example"],
        SILENCED_SYSTEM_CHECKS=["security.W005"],
        CONTENT_SECURITY_POLICY={"DIRECTIVES": {}},
        DEFAULT_FROM_EMAIL="ours@example.com",
        SERVER_EMAIL="ours@example.com",
        ADMINS=[],
        EMAIL_HOST="ours.example",
        DATABASES={"default": {"ENGINE": "sqlite3", "NAME": "ours"}},
        STORAGES={"default": {"BACKEND": FILES}, "staticfiles": {"BACKEND": HASHED}},
        LOGGING={"version": 1, "loggers": {"django": {"level": "INFO"}}},
        MIDDLEWARE=["csp.middleware.CSPMiddleware", "unused.Middleware"],
    )
    return module


@pytest.fixture
def wrap(defaults):
    def wrap(**own: object) -> dict:
        adopt(own, defaults)
        return own

    return wrap


def rows(settings: dict) -> list[str]:
    return [
        row.rpartition(".")[2].removesuffix("Middleware")
        for row in settings["MIDDLEWARE"]
    ]


def test_settings_that_say_nothing_get_all_of_ours(wrap):
    settings = wrap()
    assert settings["DATABASES"]["default"]["NAME"] == "ours"
    assert rows(settings) == ["Request", "Health", "Security", "CSP", "Static"]
    assert settings["INSTALLED_APPS"] == ["django.contrib.staticfiles"]
    assert settings["MEDIA_URL"] == ""
    assert settings["EMAIL_HOST"] == "ours.example"


@pytest.mark.parametrize(
    ("text", "is_made_of_it"),
    [
        ("\ufeffclass Files(WhiteNoiseMiddleware): pass\n", True),
        ("class Files(WhiteNoiseMiddleware) pass\n", False),  # Django says it better
    ],
)
def test_a_middlewares_source_is_read_as_python_reads_it(
    wrap, tmp_path, monkeypatch, text, is_made_of_it
):
    (tmp_path / "marked.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    settings = wrap(MIDDLEWARE=["marked.Files"])
    assert ("STAGETOOLS_WHITENOISE" in settings) is is_made_of_it


def test_uploads_elsewhere_stay_there_and_are_not_served_here(wrap):
    for own in (
        {"STORAGES": {"default": {"BACKEND": S3}}},
        {"DEFAULT_FILE_STORAGE": S3},
    ):
        settings = wrap(MEDIA_URL="/media/", **own)
        assert settings["STORAGES"]["default"]["BACKEND"] == S3
        assert settings["STORAGES"]["staticfiles"]["BACKEND"] == SHOWN
        assert "Media" not in rows(settings)


@pytest.mark.parametrize("url", ["", "/", "https://cdn.example/media/"])
def test_uploads_without_an_address_of_this_site_are_not_served(wrap, url):
    assert "Media" not in rows(wrap(MEDIA_URL=url))


def test_uploads_on_this_disk_go_where_the_installation_keeps_them(wrap):
    location = {"BACKEND": FILES, "OPTIONS": {"location": "/app/media"}}
    settings = wrap(
        STORAGES={"default": location}, MEDIA_ROOT="/app/media", MEDIA_URL="m/"
    )
    assert "OPTIONS" not in settings["STORAGES"]["default"]
    assert str(settings["MEDIA_ROOT"]) != "/app/media"
    assert "Media" in rows(settings)


def test_static_files_on_another_host_come_home(wrap):
    assert wrap(STATIC_URL="https://cdn.example/")["STATIC_URL"] == "/static/"
    assert wrap(STATIC_URL="assets/")["STATIC_URL"] == "assets/"


def test_a_missing_static_file_is_as_bad_as_it_was(wrap):
    name = "WHITENOISE_MANIFEST_STRICT"
    assert wrap()[name] is False
    assert wrap(STATICFILES_STORAGE="a.ManifestStaticFilesStorage")[name] is True
    assert wrap(STORAGES={"staticfiles": {"BACKEND": "b.Manifest"}})[name] is True
    assert wrap(**{name: True})[name] is True


@pytest.mark.parametrize(
    "own", ["CONTENT_SECURITY_POLICY", "SECURE_CSP", "CSP_DEFAULT_SRC"]
)
def test_a_policy_of_their_own_is_the_only_one(wrap, own):
    theirs = "csp.middleware.CSPMiddleware"
    settings = wrap(**{own: "theirs"}, MIDDLEWARE=["first.Middleware", theirs])
    assert settings[own] == "theirs"
    assert not any(name.endswith("_REPORT_ONLY") for name in settings)
    assert rows(settings) == ["Request", "Health", "Security", "Static", "", "CSP"]


def test_other_databases_stay_and_ours_keeps_their_habits(wrap):
    own = {"default": {"ENGINE": "x", "ATOMIC_REQUESTS": True}, "old": {"NAME": "old"}}
    databases = wrap(DATABASES=own)["DATABASES"]
    assert databases["default"] == {
        "ENGINE": "sqlite3",
        "NAME": "ours",
        "ATOMIC_REQUESTS": True,
    }
    assert databases["old"] == {"NAME": "old"}


@pytest.mark.parametrize(
    ("url", "engine", "kept"),
    [
        ("postgres://db.test/shop", "django.db.backends.postgresql", True),
        ("mysql://db.test/shop", "mysql.connector.django", True),
        ("sqlite:///db.sqlite3", "django.db.backends.sqlite3", False),
        ("", "django.db.backends.postgresql", False),
    ],
)
def test_a_database_that_the_server_names_is_theirs_to_read(
    wrap, monkeypatch, url, engine, kept
):
    monkeypatch.setenv("DATABASE_URL", url)
    databases = wrap(DATABASES={"default": {"ENGINE": engine, "NAME": "theirs"}})
    assert (databases["DATABASES"]["default"]["NAME"] == "theirs") == kept


@pytest.mark.parametrize("name", ["shop_dev", "build_prod"])
@pytest.mark.parametrize("is_there_already", [False, True])  # as below a reloader
def test_a_database_that_only_stands_in_is_nobodys(
    wrap, monkeypatch, name, is_there_already
):
    url = "postgres://none/none"
    monkeypatch.setattr(
        "stagetools.adopted.os.environ",
        {"DATABASE_URL": url} if is_there_already else {},
    )
    monkeypatch.setattr("stagetools.adopted._STOOD_IN", {})
    system = get_expected_system_from_name(name, core_repo="shop")
    stand_in(system, DATABASE_URL=url)
    theirs = {"ENGINE": "django.db.backends.postgresql", "NAME": "none"}
    settings = wrap(DATABASES={"default": theirs})
    assert settings["DATABASES"]["default"]["NAME"] == "ours"


def test_a_developer_who_names_a_database_has_that_one(wrap, monkeypatch):
    named = {"DATABASE_URL": "postgres://localhost/shop"}
    monkeypatch.setattr("stagetools.adopted.os.environ", named)
    monkeypatch.setattr("stagetools.adopted._STOOD_IN", {})
    system = get_expected_system_from_name("shop_dev", core_repo="shop")
    stand_in(system, DATABASE_URL="postgres://none/none")
    theirs = {"ENGINE": "django.db.backends.postgresql", "NAME": "theirs"}
    settings = wrap(DATABASES={"default": theirs})
    assert settings["DATABASES"]["default"]["NAME"] == "theirs"


@pytest.mark.parametrize("own", [{"EMAIL_HOST": "theirs"}, {"MAILERS": {}}])
def test_mail_is_all_theirs_or_all_ours(wrap, own):
    settings = wrap(**own)
    assert settings.get("EMAIL_HOST") == own.get("EMAIL_HOST")


def test_lists_that_both_have_are_united_and_choices_stay_theirs(wrap):
    settings = wrap(CSRF_TRUSTED_ORIGINS=("https://a.b",), X_FRAME_OPTIONS="SAMEORIGIN")
    assert settings["CSRF_TRUSTED_ORIGINS"] == ["https://a.b", "https://ours.example"]
    assert settings["X_FRAME_OPTIONS"] == "SAMEORIGIN"


THEIR_LOGS = {
    "filters": {"live": {"()": "a.Filter"}},
    "formatters": {"long": {"format": "x"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler"},
        "file": {"class": "logging.handlers.RotatingFileHandler", "filename": "a.log"},
        "syslog": {"class": "logging.handlers.SysLogHandler"},
        "later": {"class": "logging.handlers.MemoryHandler", "target": "file"},
        "errors": {"class": "sentry.Handler", "filters": ["live"], "formatter": "long"},
        "mail": {"class": "django.utils.log.AdminEmailHandler"},
        "stdout": {"()": "shop.logs.Handler"},
    },
    "loggers": {
        "shop": {
            "handlers": ["console", "errors"],
            "level": "DEBUG",
            "propagate": False,
        },
        "django": {"handlers": ["mail", "file"], "level": "DEBUG"},
        "quiet": {"handlers": ["file"]},
    },
    "root": {"handlers": ["console", "errors"], "level": "DEBUG"},
}
OUR_LOGS = {
    "filters": {"request_id": {}},
    "handlers": {"stdout": {"class": "logging.StreamHandler"}, "mail_admins": {}},
    "root": {"handlers": ["stdout"], "level": "INFO"},
    "loggers": {"django": {"handlers": [], "level": "INFO"}},
}


def test_handlers_of_theirs_stay_but_those_that_write_a_file_or_to_a_console(
    defaults, wrap
):
    vars(defaults)["LOGGING"] = OUR_LOGS
    logs = wrap(LOGGING=THEIR_LOGS)["LOGGING"]
    assert set(logs["handlers"]) == {"stdout", "mail_admins", "errors", "mail"}
    assert logs["handlers"]["stdout"] == OUR_LOGS["handlers"]["stdout"]
    assert {"live", "request_id"} < set(logs["filters"])
    assert "long" in logs["formatters"]
    assert logs["root"] == {"handlers": ["stdout", "errors"], "level": "INFO"}
    assert logs["loggers"] == {
        "shop": {
            "handlers": ["stdout", "errors"],
            "level": "DEBUG",
            "propagate": False,
        },
        "django": {"handlers": ["mail"], "level": "INFO"},
    }


TOLD = """\
import logging.config, sys
from stagetools.settings.kept_logs import kept_logs
from stagetools.settings.logs import to_stdout
class Slack(logging.Handler):
    sent = []
    def emit(self, record):
        self.sent.append(record.getMessage())
own = {"version": 1, "handlers": {"slack": {"class": "__main__.Slack"}}} | eval(sys.argv[1])
ours = to_stdout() | {"root": {"handlers": ["stdout"], "level": "INFO"}}
def told(logs):
    Slack.sent = []
    logging.config.dictConfig(logs)
    logging.getLogger("shop.steps").setLevel("INFO")  # as code may, at any time
    logging.getLogger("requests").info("GET/200")
    logging.getLogger("shop").error("boom")
    logging.getLogger("shop.steps").info("step")
    logging.getLogger("muted").error("scan")
    logging.getLogger("other").error("crash")
    return Slack.sent
alone = told(own)
print("--", flush=True)
print(told(kept_logs(own, ours)) == alone, alone)
"""
SLACK = {"handlers": ["slack"]}
ALONE = {**SLACK, "propagate": False}


@pytest.mark.parametrize(
    ("logs", "sent"),
    [
        ({"root": {"level": "ERROR", **SLACK}, "loggers": {"shop": {"level": "ERROR", **ALONE}}}, "boom step scan crash"),
        ({"root": {"level": "ERROR", **SLACK}, "loggers": {"muted": {"handlers": [], "propagate": False}}}, "boom step crash"),
        ({"root": SLACK, "loggers": {"muted": {"propagate": False}}}, "boom step crash"),
        ({"loggers": {"": {"level": "ERROR", **SLACK}}}, "boom step scan crash"),
        ({"loggers": {"shop": SLACK, "requests": SLACK}}, "boom step"),
    ],
)  # fmt: skip
def test_a_handler_of_theirs_gets_what_it_got_before_and_ours_every_line(logs, sent):
    words = [sys.executable, "-c", TOLD, repr(logs)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    *lines, told = done.stdout.partition("--\n")[2].splitlines()
    assert told == f"True {sent.split()}"
    assert [line.rpartition(" ")[2] for line in lines] == [
        *("GET/200", "boom", "step", "scan", "crash")
    ]


def test_a_build_has_none_of_their_handlers(defaults, wrap):
    """One that needs a network, or a key that a server alone has, would end it."""
    name = "build_prod"
    system = get_expected_system_from_name(name, core_repo="shop")
    vars(defaults).update(LOGGING=OUR_LOGS, SYSTEM=system)
    assert wrap(LOGGING=THEIR_LOGS)["LOGGING"]["handlers"] == OUR_LOGS["handlers"]


def test_an_error_is_mailed_once(defaults, wrap):
    vars(defaults)["LOGGING"] = {
        **OUR_LOGS,
        "root": {"handlers": ["stdout", "mail_admins"]},
    }
    logs = wrap(LOGGING=THEIR_LOGS)["LOGGING"]
    assert "mail" not in logs["handlers"]
    assert logs["loggers"]["django"]["handlers"] == []


def test_pages_that_name_missing_files_are_shown_unless_the_manifest_was_strict(wrap):
    def storage(**own: object) -> str:
        return wrap(**own)["STORAGES"]["staticfiles"]["BACKEND"]

    assert storage() == SHOWN
    assert storage(STATICFILES_STORAGE="a.ManifestStaticFilesStorage") == HASHED


@pytest.mark.parametrize(
    ("name", "is_set"),
    [
        ("shop_prod", False),
        ("shop_qual", False),
        ("shop_dev", True),
        ("build_prod", True),
    ],
)
def test_a_stand_in_reaches_builds_and_developers_never_a_server(
    monkeypatch, name, is_set
):
    monkeypatch.delenv("SHOP_KEY", raising=False)
    variables: dict[str, str] = {}
    monkeypatch.setattr("stagetools.adopted.os.environ", variables)
    stand_in(get_expected_system_from_name(name, core_repo="shop"), SHOP_KEY="none")
    assert variables == ({"SHOP_KEY": "none"} if is_set else {})
