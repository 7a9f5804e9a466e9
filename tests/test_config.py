"""deploy.toml is read strictly, and written without losing a comment."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest

from stagetools.deploy.backups import Backup, Keep
from stagetools.deploy.config import StageConfig, bytes_in, load, remember, uploads
from stagetools.deploy.replicas import Replica
from stagetools.errors import ConfigError

PLAIN = '[stages.prod]\nhost = "203.0.113.7"\ndomains = ["shop.test"]\n'


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "deploy.toml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def refuses(toml) -> Callable[[str], ConfigError]:
    def refuses(text: str) -> ConfigError:
        with pytest.raises(ConfigError) as caught:
            load(toml(text), "prod")
        assert caught.value.exit_code == 2
        return caught.value

    return refuses


def test_every_key_is_read_with_its_type(toml) -> None:
    path = toml("""
        [stages.prod]
        host = "203.0.113.7"
        user = "ann"
        port = 2222
        identity_file = "~/.ssh/id"
        domains = ["shop.test", "www.shop.test"]
        tls = "acme"
        email = "a@shop.test"
        acme_ca = "https://ca.test"
        acme_ca_root = "root.pem"
        workers = 3
        migration_limit = 5
        probe = ["/", "/shop/?page=2"]
        drain = 20
        max_body = "2.5 GB"
        memory = "512 MB"
        processes = 100
        rehearsal_network = true
        live_restore = false
        upload = ["certs/*.pem"]
        [stages.prod.backup]
        every = "6 hours"
        keep = { days = 3, weeks = 0, months = 12 }
        to = "s3:https://s3.test/shop"
        """)
    assert load(path, "prod") == StageConfig(
        stage_name="prod", host="203.0.113.7", user="ann", port=2222,
        identity_file="~/.ssh/id", domains=("shop.test", "www.shop.test"), tls="acme",
        email="a@shop.test", acme_ca="https://ca.test", acme_ca_root="root.pem",
        workers=3, migration_limit=5, probe=("/", "/shop/?page=2"), drain=20,
        max_body="2.5 GB", memory="512 MB", processes=100,
        rehearsal_network=True, live_restore=False, upload=("certs/*.pem",),
        backup=Backup(every="6 hours", keep=Keep(days=3, weeks=0, months=12), to="s3:https://s3.test/shop"),
    )  # fmt: skip


def test_what_is_left_out_has_its_default(toml) -> None:
    config = load(toml('[stages.prod]\ndomains = ["shop.test"]\n'), "prod")
    assert (config.host, config.user, config.port, config.tls) == ("", "", 0, "acme")
    assert (config.workers, config.migration_limit) == (0, 2)
    assert (config.probe, config.drain, config.processes) == (("/",), 300, 512)
    assert (config.max_body_bytes, config.memory_bytes) == (100_000_000, 0)
    assert (config.rehearsal_network, config.live_restore) == (False, True)
    assert config.url == "https://shop.test"
    assert config.backup == Backup(every="1 day", keep=Keep(days=7, weeks=4, months=6))


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("7 B", 7), ("1kB", 1000), ("1.5 MB", 1_500_000), ("2 gb", 2 * 10**9)],
)
def test_a_size_is_read_in_bytes(text: str, size: int) -> None:
    assert bytes_in(text) == size


@pytest.mark.parametrize("key", ["max_body", "memory"])
@pytest.mark.parametrize("text", ["much", "-1 MB", "1 TB", "0 MB", "1 MB!", "1e3 MB"])
def test_what_is_no_size_is_refused(refuses, key: str, text: str) -> None:
    error = refuses(f'{PLAIN}{key} = "{text}"\n')
    assert (
        f"{key} in [stages.prod] of deploy.toml is a size; not {text!r}." in error.what
    )
    assert "512 MB" in error.remedy


def test_memory_in_which_no_site_starts_is_refused(refuses) -> None:
    assert "memory" in refuses(f'{PLAIN}memory = "10 MB"\n').what


@pytest.mark.parametrize("pattern", ["", "/etc/key.pem", "../key.pem", "./key.pem"])
def test_what_lies_nowhere_in_the_project_is_not_uploaded(
    refuses, pattern: str
) -> None:
    error = refuses(f'{PLAIN}upload = ["{pattern}"]\n')
    assert f"has {pattern!r}, which is no path in the project" in error.what


def test_what_any_stage_uploads_is_known_to_a_check(toml, tmp_path) -> None:
    path = toml(f'{PLAIN}upload = ["a.pem"]\n[stages.qual]\nupload = ["b.pem"]\n')
    assert uploads(path) == ("a.pem", "b.pem")
    assert uploads(tmp_path / "nowhere.toml") == ()


@pytest.mark.parametrize("page", ["", "shop/", "https://shop.test/", "/a b", "/#a"])
def test_what_is_no_page_is_refused(refuses, page: str) -> None:
    error = refuses(f'{PLAIN}probe = ["{page}"]\n')
    assert f"{page!r}, which is not a page" in error.what


def test_no_page_at_all_may_be_asked(toml) -> None:
    assert load(toml(f"{PLAIN}probe = []\n"), "prod").probe == ()


# What makes another release, and what only says how one is made or reached.
OF_A_RELEASE = {
    "domains": ("b.test",), "tls": "off", "email": "x@b.test", "acme_ca": "https://b.test",
    "acme_ca_root": "b.pem", "workers": 7, "max_body": "1 MB", "memory": "1 GB",
    "processes": 99,
}  # fmt: skip
OF_NONE = {
    "host": "h", "user": "u", "port": 1, "identity_file": "i", "migration_limit": 9,
    "probe": (), "drain": 9, "rehearsal_network": True, "live_restore": False,
    "backup": Backup(every="never"), "replica": Replica(url="file:///mnt/copy"),
    "upload": ("a.pem",),
}  # fmt: skip


def test_each_key_makes_another_release_or_does_not() -> None:
    config = StageConfig(stage_name="prod", domains=("a.test",))
    keys = {item.name for item in fields(config)} - {"stage_name"}
    assert keys == OF_A_RELEASE.keys() | OF_NONE.keys()
    for key, value in OF_A_RELEASE.items():
        assert replace(config, **{key: value}).made_of != config.made_of, key
    for key, value in OF_NONE.items():
        assert replace(config, **{key: value}).made_of == config.made_of, key


@pytest.mark.parametrize(
    ("key", "nearest"),
    [("domain", "domains"), ("hosts", "host"), ("worker", "workers"),
     ("identityfile", "identity_file"), ("mail", "email")],
)  # fmt: skip
def test_an_unknown_key_is_refused_with_the_nearest_known_one(
    refuses, key: str, nearest: str
) -> None:
    error = refuses(f'{PLAIN}{key} = "x"\n')
    assert f"not known: {key}." in error.what
    assert error.remedy == f"Did you mean {nearest}?"


def test_where_none_is_near_all_are_named(refuses) -> None:
    assert refuses(f"{PLAIN}qqqqqq = 1\n").remedy.startswith(
        "Known keys: host, user, port"
    )


def test_an_unknown_table_is_refused(refuses) -> None:
    assert (
        refuses('[stage.prod]\ndomains = ["a.test"]\n').remedy == "Did you mean stages?"
    )


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ('port = "22"', "a whole number, not '22'"),
        ("port = true", "a whole number, not True"),
        ("port = 22.0", "a whole number, not 22.0"),
        ("user = 7", "a string, not 7"),
        ('workers = "3"', "a whole number"),
        ("email = []", "a string"),
        ('live_restore = "yes"', "true or false, not 'yes'"),
        ("rehearsal_network = 1", "true or false, not 1"),
        ("drain = true", "a whole number, not True"),
    ],
)
def test_a_value_of_another_kind_is_refused(refuses, line: str, wanted: str) -> None:
    error = refuses(f"{PLAIN}{line}\n")
    assert f"in [stages.prod] of deploy.toml must be {wanted}" in error.what


@pytest.mark.parametrize("value", ['"shop.test"', "[1]", '["a.test", 1]', "{}"])
def test_domains_are_a_list_of_strings(refuses, value: str) -> None:
    assert (
        "must be a list of strings"
        in refuses(f"[stages.prod]\ndomains = {value}\n").what
    )


@pytest.mark.parametrize(
    "domain",
    ["", " ", "Shop.test", "https://shop.test", "shop.test/", "shop.test:80", "*.shop.test",
     "-a.test", "a-.test", "a..test", ".test", "a_b.test", "größe.test", "a" * 64 + ".test",
     "a.test\n", "../x", "2001:db8::1", f"{'a.' * 40}test"],
)  # fmt: skip
def test_what_is_no_domain_is_refused(refuses, domain: str) -> None:
    import tomlkit

    text = tomlkit.dumps({"stages": {"prod": {"domains": [domain]}}})
    error = refuses(text)
    assert "is not a domain" in error.what
    assert error.remedy


@pytest.mark.parametrize(
    "domain", ["shop.test", "a", "xn--gre-6ka.test", "1.test", "203.0.113.7", f"{'a' * 63}.test"]
)  # fmt: skip
def test_what_is_a_domain_is_taken(toml, domain: str) -> None:
    assert load(toml(f'[stages.prod]\ndomains = ["{domain}"]\n'), "prod").domains == (
        domain,
    )


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('tls = "on"', "acme, internal, off"),
        ("port = 65536", "65535"),
        ("port = -1", "65535"),
        ("workers = -1", "0 to 1000"),
        ("drain = 0", "1 to 86400"),
        ("drain = 86401", "1 to 86400"),
        ("processes = 5", "32 to 100000"),
        ("migration_limit = -1", "0 to 86400"),
    ],
)
def test_a_value_out_of_range_is_refused(refuses, line: str, word: str) -> None:
    assert word in refuses(f"{PLAIN}{line}\n").what


@pytest.mark.parametrize("host", ["-oProxyCommand=x", "a b", "a\\tb"])
def test_what_is_no_host_is_refused(refuses, host: str) -> None:
    error = refuses(f'[stages.prod]\nhost = "{host}"\ndomains = ["a.test"]\n')
    assert "a name or an address" in error.what


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a table for each stage"),
        ("stages = 1", "a table for each stage"),
        ("[stages]\nprod = 1", "a table for each stage"),
        ("[stages.prod", "is not TOML"),
        ("[stages.prod]\n", "names no domain"),
        ("[stages.prod]\ndomains = []\n", "names no domain"),
    ],
)
def test_what_is_no_configuration_is_refused(refuses, text: str, words: str) -> None:
    assert words in refuses(text).what


def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    (tmp_path / "deploy.toml").write_bytes(b"# caf\xe9\n")
    with pytest.raises(ConfigError, match="is not TOML"):
        load(tmp_path / "deploy.toml", "prod")


def test_a_missing_file_says_where_to_run_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no deploy\.toml in") as caught:
        load(tmp_path / "deploy.toml", "prod")
    assert "the project's own" in caught.value.remedy


def test_another_stage_is_told_those_that_are_there(toml) -> None:
    path = toml(f"{PLAIN}[stages.qual]\ndomains = ['q.test']\n")
    with pytest.raises(
        ConfigError, match="no stage 'int'; it has prod, qual"
    ) as caught:
        load(path, "int")
    assert "[stages.int]" in caught.value.remedy


def test_a_stage_is_not_troubled_by_another_ones_mistake(toml) -> None:
    path = toml(f"{PLAIN}[stages.qual]\ndomain = 'q.test'\n")
    assert load(path, "prod").host == "203.0.113.7"


# --- remembering ---------------------------------------------------------------------------

COMMENTED = """\
# Where it runs.
[stages.prod]   # production
# host = "a server"
domains = [
    "shop.test",  # the shop
]
tls = 'internal'

[stages.qual]
domains = ["q.test"]
"""


def answer(text: str | None) -> Callable[[str], str | None]:
    return lambda question: text


def test_an_answer_is_kept_and_so_is_every_comment(toml) -> None:
    path = toml(COMMENTED)
    config, keep = remember(path, load(path, "prod"), ask=answer("203.0.113.7"))
    assert path.read_text() == COMMENTED
    keep()
    assert config.host == "203.0.113.7"
    written = path.read_text()
    lines = [
        line for line in written.splitlines() if line not in COMMENTED.splitlines()
    ]
    assert lines == ['host = "203.0.113.7"']
    assert load(path, "prod") == config
    assert load(path, "qual").host == ""


def test_nothing_is_asked_where_the_host_is_known(toml) -> None:
    path = toml(PLAIN)

    def never(question: str) -> str:
        raise AssertionError(question)

    config, keep = remember(path, load(path, "prod"), ask=never)
    keep()
    assert config.host == "203.0.113.7"
    assert path.read_text() == PLAIN


@pytest.mark.parametrize("nobody", [None, ""])
def test_without_an_answer_it_says_what_to_write(toml, nobody: str | None) -> None:
    path = toml(COMMENTED)
    with pytest.raises(ConfigError, match="names no host") as caught:
        remember(path, load(path, "prod"), ask=answer(nobody))
    assert 'host = "' in caught.value.remedy
    assert path.read_text() == COMMENTED


def test_a_user_may_be_typed_before_the_host_as_for_ssh(toml) -> None:
    path = toml(COMMENTED)
    config, keep = remember(path, load(path, "prod"), ask=answer("ann@shop.test"))
    keep()
    assert (config.user, config.host) == ("ann", "shop.test")
    assert load(path, "prod") == config


@pytest.mark.parametrize("typed", ["a@", "@", "ssh://shop.test", "a b@c", "a@-c"])
def test_what_is_no_user_and_host_is_refused(toml, typed: str) -> None:
    path = toml(COMMENTED)
    with pytest.raises(ConfigError) as caught:
        remember(path, load(path, "prod"), ask=answer(typed))
    assert caught.value.remedy
    assert path.read_text() == COMMENTED


def test_a_user_in_the_hosts_place_is_told_where_it_belongs(refuses) -> None:
    error = refuses('[stages.prod]\nhost = "root@203.0.113.7"\ndomains = ["a.test"]\n')
    assert error.remedy == 'Write user = "root" and host = "203.0.113.7".'


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "deploy.toml").mkdir()
    with pytest.raises(ConfigError, match=r"deploy\.toml cannot be read: Is a dir"):
        load(tmp_path / "deploy.toml", "prod")


def test_a_file_that_cannot_be_written_is_said(toml, monkeypatch) -> None:
    path = toml(COMMENTED)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    config = load(path, "prod")
    monkeypatch.setattr(Path, "write_text", refused)
    with pytest.raises(ConfigError, match="cannot be written: Permission denied"):
        remember(path, config, ask=answer("h"))[1]()


def test_an_answer_that_is_no_host_is_not_kept(toml) -> None:
    path = toml(COMMENTED)
    with pytest.raises(ConfigError, match="a name or an address"):
        remember(path, load(path, "prod"), ask=answer("ssh root@203.0.113.7"))
    assert path.read_text() == COMMENTED


def test_a_host_is_also_remembered_in_an_inline_table(toml) -> None:
    path = toml('stages = {prod = {domains = ["a.test"]}}  # short\n')
    remember(path, load(path, "prod"), ask=answer("h"))[1]()
    assert load(path, "prod").host == "h"
    assert "# short" in path.read_text()


# --- what follows from it ------------------------------------------------------------------


def test_a_stage_without_tls_is_visited_over_http() -> None:
    assert (
        StageConfig(stage_name="p", domains=("a.test",), tls="off").url
        == "http://a.test"
    )


def test_placeholders_are_those_that_nobody_can_own() -> None:
    domains = (
        "example.com",
        "a.example.net",
        "x.example",
        "myexample.com",
        "example.test",
    )
    config = StageConfig(stage_name="p", domains=domains)
    assert config.placeholder_domains == domains[:3]


def test_a_missing_acme_root_is_told_with_its_key(tmp_path: Path) -> None:
    config = StageConfig(stage_name="p", acme_ca_root=str(tmp_path / "none.pem"))
    with pytest.raises(ConfigError, match=r"acme_ca_root: .*none\.pem"):
        _ = config.acme_root
