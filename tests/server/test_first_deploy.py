"""From a bare server to a site that people use; each promise of the first hour."""

import json
import re
import subprocess
import threading

import pytest

from tests.server import machines
from tests.server.browser import Browser
from tests.server.machines import Server
from tests.server.project import Done, Project

DOMAIN = "mysite.test"


@pytest.fixture(scope="module")
def server(new_server) -> Server:
    return new_server("bare")


@pytest.fixture(scope="module")
def project(new_project, server) -> Project:
    project = new_project()
    project.target(server, domain=DOMAIN)
    project.write(".env", "SECRET=never upload this\n")
    project.write("data/mysite.sqlite3", "a developer's own database")
    project.write("deploy_key.pem", "a key")
    return project


# A lock as apt takes it, until the file goes; cloud-init holds it in a server's first minutes.
CLOUD_INIT = """
use Fcntl; open(my $file, ">>", "/var/lib/apt/lists/lock") or die;
my $lock = pack("s s x4 q q i x4", F_WRLCK, 0, 0, 0, 0); fcntl($file, F_SETLK, $lock) or die;
open(my $mark, ">", "/tmp/busy"); while (-e "/tmp/busy") { sleep 1 }
"""


@pytest.fixture(scope="module")
def first(project, server) -> Done:
    """The first deploy, while the server installs something: all below looks at what it left."""
    machines.docker(
        *("exec", "--detach", server.container, "perl", "-e", CLOUD_INIT, "cloud-init")
    )
    server.run("for _ in $(seq 50); do ! test -e /tmp/busy || break; sleep 0.1; done")
    lists = threading.Timer(15, server.run, ["rm -f /tmp/busy"])
    lists.start()
    done = project.deploy()
    lists.join()
    return done


def test_a_first_deploy_ends_with_what_to_type_next(first) -> None:
    assert "Its first administrator: inv manage createsuperuser" in first.text


def test_packages_that_the_server_installs_itself_are_waited_for(first) -> None:
    assert "Waiting for another program that installs packages here: perl" in first.text


@pytest.fixture
def browser(first, server) -> Browser:
    return Browser(server.address, DOMAIN)


def containers(server: Server) -> list[dict]:
    ids = server.run("docker ps --quiet").split()
    return json.loads(server.run(f"docker inspect {' '.join(ids)}"))


def web(server: Server) -> dict:
    named = [
        c for c in containers(server) if c["Config"]["Labels"].get("stagetools.release")
    ]
    assert len(named) == 1
    return named[0]


def test_the_page_comes_over_https(browser) -> None:
    answer = browser.get("/")
    assert answer.status == 200
    assert "mysite_prod" in answer.text
    assert "wal" in answer.text.lower()


def test_http_is_redirected_to_https(browser) -> None:
    answer = browser.get("/?a=b", scheme="http")
    assert answer.status == 308
    assert answer.headers["location"] == f"https://{DOMAIN}/?a=b"


def test_static_files_are_hashed_compressed_and_cacheable_for_good(browser) -> None:
    path = re.search(r'href="(/static/[^"]+\.css)"', browser.get("/").text)
    assert path
    assert re.search(r"\.[0-9a-f]{12}\.css$", path[1])
    answer = browser.get(path[1], **{"Accept-Encoding": "br"})
    assert answer.status == 200
    assert answer.headers["content-encoding"] == "br"
    assert "immutable" in answer.headers["cache-control"]


SITE_DIR = "/srv/stagetools/web/sites/mysite_prod"
OF_THE_ONE_ANSWER = {"date", "etag", "server", "via", "x-request-id", "accept-ranges"}


@pytest.mark.parametrize(
    ("method", "asked"),
    [
        ("GET", {}),
        ("HEAD", {}),
        ("GET", {"Accept-Encoding": "gzip"}),
        ("GET", {"Accept-Encoding": "gzip, deflate, br, zstd"}),
        ("GET", {"Accept-Encoding": "identity"}),
        ("GET", {"Range": "bytes=2-9"}),
        ("GET", {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}),
        ("POST", {}),
    ],
)
def test_the_proxy_sends_a_hashed_file_as_the_site_does(
    browser, server, method: str, asked: dict[str, str]
) -> None:
    (path,) = re.findall(r'href="(/static/[^"]+\.css)"', browser.get("/").text)
    mine = browser.request(method, path, headers=asked)
    server.run(f"mv -T {SITE_DIR}/sent {SITE_DIR}/unsent")  # then the site is asked
    try:
        its = browser.request(method, path, headers=asked)
    finally:
        server.run(f"mv -T {SITE_DIR}/unsent {SITE_DIR}/sent")
    assert (mine.status, mine.body) == (its.status, its.body)
    by_proxy = method != "POST"
    assert (mine.headers["server"] == "Caddy") == by_proxy
    assert its.headers["server"] != "Caddy"
    told, expected = (
        {k: v for k, v in one.headers.items() if k not in OF_THE_ONE_ANSWER}
        for one in (mine, its)
    )
    if mine.status == 304:  # Caddy leaves out what a browser has kept
        assert told.items() <= (expected | told).items()
        assert expected.keys() - told.keys() <= {"content-type", "vary"}
    else:
        assert told == expected


def test_what_the_proxy_does_not_have_the_site_answers(browser, server) -> None:
    for path in ("/static/site/no.0123456789ab.css", "/static/site/style.css"):
        answer = browser.get(path)
        assert answer.headers["server"] != "Caddy", path
    (path,) = re.findall(r'href="(/static/[^"]+\.css)"', browser.get("/").text)
    server.run(f"mv {SITE_DIR}{path} {SITE_DIR}/away")
    answer = browser.get(path)
    server.run(f"mv {SITE_DIR}/away {SITE_DIR}{path}")
    assert (answer.status, answer.headers["server"]) == (200, "gunicorn")


def test_the_health_check_answers(browser) -> None:
    assert browser.get("/healthz").status == 200


def test_a_form_post_is_stored(browser) -> None:
    words = "Greetings from the test, 42"
    answer = browser.post_form("/", {"name": "A visitor", "message": words})
    assert answer.status == 302
    assert words in browser.get("/").text


def test_an_upload_is_stored_and_served(browser, server) -> None:
    """Of 3 MB, so that it is in flight on the disk."""
    picture = b"\x89PNG\r\n\x1a\n" + bytes(3_000_000)
    line = {"name": "A visitor", "message": "Look at this"}
    assert browser.post_form("/", line, {"picture": picture}).status == 302
    address = re.search(r'<img src="(/media/[^"]+\.png)"', browser.get("/").text)
    assert address
    answer = browser.get(address[1])
    assert (answer.status, answer.body) == (200, picture)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    refused = browser.post_form("/", line, {"picture": b"<script>1</script>"})
    assert refused.status == 422
    stored = server.run("find /home/mysite_prod/media -type f").split()
    assert [path.rpartition("/")[2] for path in stored] == [
        address[1].rpartition("/")[2]
    ]


def test_logs_show_the_request(browser, project) -> None:
    browser.get("/no-such-page-for-the-log")
    done = project.inv("logs", "--tail", "50")
    assert done.status == 0
    assert re.search(r'"GET /no-such-page-for-the-log" 404', done.text)
    assert '{"' not in done.text  # of our own machinery


def test_logs_are_json_on_request(browser, project) -> None:
    browser.get("/another-page-for-the-log")
    lines = project.inv("logs", "--tail", "50", "--json").text.splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    assert ("/another-page-for-the-log", 404) in [
        (event.get("path"), event.get("status")) for event in events
    ]


def test_logs_can_be_searched(browser, project) -> None:
    browser.get("/needle-in-the-log")
    done = project.inv("logs", "--tail", "50", "--since", "1h", "--grep", "needle-in")
    assert {line for line in done.text.splitlines() if "needle-in" not in line} == set()
    assert "needle-in" in done.text


def test_status_shows_release_health_uptime_and_disk(first, project, server) -> None:
    done = project.inv("status")
    assert done.status == 0
    assert web(server)["Config"]["Labels"]["stagetools.release"] in done.text
    assert re.search(r"health +healthy", done.text)
    assert re.search(r"uptime +Up .*; server up", done.text)
    assert re.search(r"disk +\d+ % used", done.text)


def test_a_management_command_runs_in_the_release(first, project) -> None:
    done = project.inv("manage", "shell -c 'print(6 * 7)'")
    assert done.status == 0
    assert "42" in done.text
    assert project.inv("manage", "no-such-command").status == 1


def test_the_container_runs_as_the_installations_user_and_cannot_write(
    first, server
) -> None:
    found = web(server)
    uid, gid = server.run("id -u mysite_prod; id -g mysite_prod").split()
    assert found["Config"]["User"] == f"{uid}:{gid}"
    assert found["HostConfig"]["ReadonlyRootfs"]
    assert found["HostConfig"]["CapDrop"] == ["ALL"]
    processes = server.run(
        f"docker exec {found['Id']} sh -c 'id -u; touch /app/x 2>&1 || echo refused'"
    )
    assert processes.split("\n")[0] == uid
    assert "refused" in processes


def test_nothing_but_the_proxy_publishes_a_port(first, server) -> None:
    for found in containers(server):
        assert not found["HostConfig"]["PortBindings"]
        if "caddy" not in found["Config"]["Image"]:
            assert found["HostConfig"]["NetworkMode"] != "host"
    public = server.run("ss -Hltnp '! src 127.0.0.0/8'")
    names = set(re.findall(r'users:\(\("([^"]+)"', public))
    assert names == {"sshd", "caddy"}


def test_the_account_may_not_log_in_and_secrets_are_roots_alone(first, server) -> None:
    assert server.run("getent passwd mysite_prod").endswith("/usr/sbin/nologin")
    assert server.run("id -Gn mysite_prod") == "mysite_prod"
    assert server.run("stat -c '%U %a' /home/mysite_prod/env") == "root 600"
    assert "SECRET_KEY=" in server.run("cat /home/mysite_prod/env")


def test_what_root_reads_lies_where_no_container_can_write(first, server) -> None:
    home, run = "/home/mysite_prod", "/srv/stagetools/web/sites/mysite_prod/run"
    assert server.run(f"stat -c '%U %G %a' {home}") == "root mysite_prod 750"
    assert server.run(f"stat -c '%U %a' {home}/releases") == "root 755"
    assert server.run(f"stat -c '%U %G %a' {run} ") == "root root 1777"
    copies = f"{SITE_DIR}/static {SITE_DIR}/static.of {SITE_DIR}/sent"
    ours = "-user root ! -perm /022 '(' -type f -o -type d ')'"
    assert server.run(f"find {copies} | wc -l") != "0"
    assert server.run(f"find {copies} ! '(' {ours} ')'") == ""
    mounts = web(server)["Mounts"]
    inside = {mount["Source"] for mount in mounts if mount["Type"] == "bind"}
    assert inside == {f"{home}/{of}" for of in ("data", "media", "static-archive")} | {
        run
    }
    for own in ("data", "media", "static-archive", "backups"):
        assert server.run(f"stat -c '%U %a' {home}/{own}") == "mysite_prod 750"


def test_what_must_not_travel_did_not(first, server) -> None:
    sources = server.run("find /home/mysite_prod/releases -type f")
    assert "/manage.py" in sources
    for name in (".env", "mysite.sqlite3", "deploy_key.pem", "__pycache__"):
        assert not re.search(rf"/{re.escape(name)}$", sources, re.M)


def test_a_second_run_with_nothing_changed_says_so(first, project, server) -> None:
    before = web(server)["Id"]
    done = project.deploy()
    assert "Nothing has changed" in done.text
    assert web(server)["Id"] == before


def test_a_changed_letter_of_the_same_size_is_deployed(first, project, browser) -> None:
    """BuildKit compares sizes and times: the same size must not mean the same file."""
    page = next(project.root.glob("mysite/templates/**/base.html"))
    path = str(page.relative_to(project.root))
    for mark in ("<!-- A -->", "<!-- B -->"):
        text = re.sub(r"(<!-- [AB] -->)?\s*$", f"{mark}\n", project.read(path))
        project.write(path, text)
        project.deploy()
        assert mark in browser.get("/").text


def test_the_server_that_is_named_at_the_prompt_is_kept(first, project, server) -> None:
    """In deploy.toml, which is one of the files that the same deploy reads and uploads."""
    named = f'host = "{server.address}"\n'
    project.replace("deploy.toml", named, "")
    done = project.answer(f"root@{server.address}", "deploy")
    assert done.status == 0, str(done)
    assert "Which server?" in done.text
    assert named in project.read("deploy.toml")
    assert project.inv("status").status == 0


def test_the_lock_refuses_a_second_deploy_and_says_who(first, project, server) -> None:
    holder = subprocess.Popen(
        ["docker", "exec", server.container, "sh", "-c",
         "echo somebody@desk deploys >/run/stagetools/mysite_prod.lock.who;"
         " exec flock /run/stagetools/mysite_prod.lock sleep 60"]
    )  # fmt: skip
    try:
        server.run(
            "until ! flock -n /run/stagetools/mysite_prod.lock true; do sleep 0.1; done"
        )
        done = project.inv("deploy")
    finally:
        server.run("pkill -x sleep")
        holder.wait()
    assert done.status == 1
    assert "somebody@desk" in done.text


# A cgroup's share of the processor, by either version of cgroups, and who goes first.
STANDING = "cat /sys/fs/cgroup/cpu/cpu.shares /sys/fs/cgroup/cpu.weight 2>/dev/null; cat /proc/self/oom_score_adj"


def test_a_build_leaves_the_processor_and_the_memory_to_the_site(first, server) -> None:
    release = web(server)
    share, mercy = map(
        int, server.run(f"docker exec {release['Id']} sh -c '{STANDING}'").split()
    )
    built = server.run(
        f"printf 'FROM {release['Config']['Image']}\\nRUN ({STANDING}) | sed s/^/standing=/\\n'"
        " | docker build --no-cache --progress plain - 2>&1"
    )
    share_of_build, mercy_of_build = map(int, re.findall(r"standing=(-?\d+)", built))
    assert share >= 3 * share_of_build
    assert mercy < mercy_of_build
