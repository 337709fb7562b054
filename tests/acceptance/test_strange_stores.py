"""Stores that are not quite ours: refused at start in one line, or worked with in quiet."""

import json
import re
import subprocess
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from shared.queue import RedisConnection
from shared.queue.connection import read_lua
from tests.failpoints import FailPoints
from tests.logins import MANAGED, PASSWORD, redis_login, set_rules
from tests.processes import (
    Deploy,
    Deployment,
    Role,
    counts_of,
    deployment,
    pause,
    wait_until,
)
from tests.servers import RunningServer, find_free_port, start_mongodb, start_valkey

FEEDMILL = str(Path(sysconfig.get_path("scripts")) / "feedmill")
COMMANDS = {
    "server": ["server"],
    "worker": ["worker"],
    "up": ["up"],
}
GIVES_UP_WITHIN_S = 90
QUIET_S = 3.0
AFTER_S = 2.0
FEED = """<?xml version="1.0"?><rss version="2.0"><channel><title>Case</title>
<item><guid>1</guid><title>One</title></item><item><guid>2</guid><title>Two</title></item>
</channel></rss>"""
# Beside what the probe's script does: how scripts are run, and what no script may or need do.
BESIDE_SCRIPTS = "+eval +evalsha +ping +bzpopmin"

Start = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, valkey_url: str, mongodb_url: str) -> Start:
    """Start a role that has to end with exit code 1; gives the one line that it says."""

    def start(role: str, **settings: str) -> str:
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "PORT": str(find_free_port()),
            "DATA_DIR": str(tmp_path / "data"),
            "REDIS_URL": valkey_url,
            "MONGODB_URL": mongodb_url,
            **settings,
        }
        done = subprocess.run(
            [FEEDMILL, *COMMANDS[role]],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=GIVES_UP_WITHIN_S,
        )
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        [line] = done.stderr.splitlines()
        return line

    return start


@pytest.mark.parametrize(
    ("role", "rules", "named"),
    [
        ("server", "~bull:* +@all -@scripting", "EVAL, EVALSHA"),
        ("worker", "~bull:* +@all -zadd", "ZADD"),
        ("up", "~other:* +@all", "access to a key"),
    ],
)
def test_redis_that_forbids_what_is_needed_is_refused_at_start(
    refused: Start,
    redis_client: RedisConnection,
    valkey_url: str,
    role: str,
    rules: str,
    named: str,
) -> None:
    with redis_login(redis_client, valkey_url, "limited", rules) as url:
        line = refused(role, REDIS_URL=url)
    assert f"REDIS_URL: Redis refuses its login {named}" in line
    assert "grant its login these commands, and all keys that begin with bull:" in line
    assert PASSWORD not in line.split()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    bus = str(find_free_port())
    folder = tmp_path_factory.mktemp("cluster")
    server = start_valkey(folder, "--cluster-enabled", "yes", "--cluster-port", bus)
    try:
        with ExitStack() as stack:
            deployed = stack.enter_context(_client(server.url))
            deployed.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wait_until(
                lambda: deployed.execute_command("CLUSTER INFO")["cluster_state"] == "ok",
                "the Cluster serves",
            )
        yield server
    finally:
        server.stop()


def _client(url: str) -> Any:
    from shared.queue import connect

    return connect(url)


# test_several_redis.py starts roles with a ``redis+cluster`` URL in each run.
@pytest.mark.long
def test_cluster_with_a_hash_tag_works(deploy: Deploy, cluster: RunningServer) -> None:
    deployed = deploy(REDIS_URL=cluster.url, QUEUE_PREFIX="{bull}")
    start_roles(deployed)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A MongoDB with access control: ``reader`` may read only, ``keeper`` also write.

    Its ``root`` may let commands fail.
    """
    folder = tmp_path_factory.mktemp("guarded")
    server = start_mongodb(folder, "--sync-on-commit")
    try:
        with MongoClient[dict[str, Any]](server.url) as client:
            for name, role in (("reader", "read"), ("keeper", "readWrite")):
                roles = [{"role": role, "db": "feedmill"}]
                client.admin.command("createUser", name, pwd=PASSWORD, roles=roles)
            client.admin.command("createUser", "root", pwd=PASSWORD, roles=["root"])
    finally:
        # A stop takes two seconds.
        server.kill()
    server = start_mongodb(folder, "--auth")
    yield server
    server.kill()


def login(guarded: RunningServer, name: str) -> str:
    netloc = urlsplit(guarded.url).netloc
    return f"mongodb://{name}:{PASSWORD}@{netloc}/feedmill?authSource=admin"


@pytest.mark.parametrize(
    "role",
    [*(pytest.param(role, marks=pytest.mark.long) for role in ("server", "worker")), "up"],
)
def test_login_that_may_only_read_is_refused_at_start(
    refused: Start, guarded: RunningServer, role: str
) -> None:
    line = refused(role, MONGODB_URL=login(guarded, "reader"))
    assert "MONGODB_URL: MongoDB refused: not authorized on feedmill" in line
    assert line.endswith("grant its login the role readWrite on database feedmill")


@pytest.mark.parametrize("role", ["worker"])
def test_writes_without_a_majority_are_refused_at_start(
    refused: Start, failing: FailPoints, role: str
) -> None:
    error = {"code": 100, "errmsg": "Not enough data-bearing nodes"}
    failing.fail("update", times=None, writeConcernError=error)
    line = refused(role)
    assert "MONGODB_URL: a write with w: majority, j: true was not acknowledged" in line
    assert "Not enough data-bearing nodes" in line
    assert line.endswith("check its disk and the members of its replica set")


@pytest.mark.parametrize("role", ["server", pytest.param("up", marks=pytest.mark.long)])
def test_index_with_other_options_is_refused_at_start(
    refused: Start, mongodb_url: str, mongo_database: Database[dict[str, Any]], role: str
) -> None:
    mongo_database["feeds"].create_index([("urls", 1)], name="one_url_each", sparse=True)
    line = refused(role, MONGODB_URL=f"{mongodb_url}/{mongo_database.name}")
    assert 'MONGODB_URL: index "one_url_each" on feeds(urls) is sparse' in line
    assert f'db.feeds.dropIndex("one_url_each") in database {mongo_database.name}' in line


@pytest.fixture
def failing(mongodb_url: str) -> Iterator[FailPoints]:
    yield from fail_points(mongodb_url)


@pytest.fixture
def guarded_failing(guarded: RunningServer) -> Iterator[FailPoints]:
    yield from fail_points(login(guarded, "root"))


def fail_points(url: str) -> Iterator[FailPoints]:
    with MongoClient[dict[str, Any]](url) as client:
        failing = FailPoints(client)
        yield failing
        failing.off()


def minimal_rules() -> str:
    """Return the rules of a user that may do what the check at start asks for, and no more."""
    used = sorted(set(re.findall(r'try\("([A-Z]+)"', read_lua("probe"))))
    return f"~bull:* {BESIDE_SCRIPTS} {' '.join(f'+{name.lower()}' for name in used)}"


def start_roles(deployed: Deployment) -> None:
    """Start a server and a worker of the deployment, and see that they work."""
    deployed.start_server()
    deployed.start_worker()
    import_feed(deployed, "case")
    assert deployed.api.get("/metrics").status_code == 200
    assert deployed.api.get("/").status_code == 200


def import_feed(deployed: Deployment, source: str) -> None:
    ended = deployed.wait_until_closed(deployed.start_import(source=source, document=FEED))
    assert ended["counts"] == counts_of(fetched=2, new=2)


def count_lines(roles: list[Role]) -> int:
    """Return how many lines the processes say while nothing happens."""
    before = sum(len(role.said().splitlines()) for role in roles)
    pause(QUIET_S)
    return sum(len(role.said().splitlines()) for role in roles) - before


def said_again(roles: list[Role], known: list[int]) -> list[tuple[str, ...]]:
    """Return what the processes said more than once after so many lines of each.

    A process that says its trouble at each try would do so several times in ``AFTER_S``.
    """
    pause(AFTER_S)
    said: Counter[tuple[str, ...]] = Counter()
    for role, lines in zip(roles, known, strict=True):
        for line in role.said().splitlines()[lines:]:
            fields = json.loads(line)
            about = (str(fields.get(name)) for name in ("logger", "event", "queue"))
            said[(role.log.name, *about)] += 1
    return [what for what, times in said.items() if times > 1]


def lines_of(roles: list[Role]) -> list[int]:
    """Return how many lines each process has said."""
    return [len(role.said().splitlines()) for role in roles]


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisConnection]:
    """A Redis of this module's: no other test's start empties it."""
    server = start_valkey(tmp_path_factory.mktemp("redis"))
    try:
        with ExitStack() as stack:
            yield stack.enter_context(_client(server.url))
    finally:
        server.stop()


@pytest.fixture(scope="module")
def limited(
    tmp_path_factory: pytest.TempPathFactory, own_redis: RedisConnection, guarded: RunningServer
) -> Iterator[Deployment]:
    """Roles at work with logins of both stores that may do what is needed, and little more."""
    port = own_redis.connection_pool.connection_kwargs["port"]
    folder = tmp_path_factory.mktemp("limited")
    with (
        redis_login(own_redis, f"redis://127.0.0.1:{port}", "limited", MANAGED) as url,
        deployment(folder, url, login(guarded, "keeper")) as deployed,
    ):
        start_roles(deployed)
        yield deployed


@pytest.mark.parametrize(
    "rules", [pytest.param("without names", marks=pytest.mark.long), "minimal"]
)
def test_what_is_optional_is_done_without_and_said_once_and_managed_stores_allow_enough(
    deploy: Deploy,
    redis_client: RedisConnection,
    valkey_url: str,
    limited: Deployment,
    rules: str,
) -> None:
    allowed = {
        "without names": "~bull:* +@all -client -config -info",
        "minimal": minimal_rules(),
    }[rules]
    with redis_login(redis_client, valkey_url, "limited", allowed) as url:
        deployed = deploy(REDIS_URL=url)
        start_roles(deployed)
        assert count_lines([*deployed.roles, *limited.roles]) == 0
        assert [said.count("CLIENT SETNAME") for said in deployed.logs()] == [1, 1]
        assert [said for said in limited.logs() if "CLIENT SETNAME" in said] == []


@pytest.mark.parametrize("taken", ["-@scripting", "-zadd", "-bzpopmin", "resetkeys"])
def test_rights_taken_away_while_running_are_said_and_fill_no_log(
    limited: Deployment, own_redis: RedisConnection, taken: str
) -> None:
    known = lines_of(limited.roles)
    set_rules(own_redis, "limited", taken)
    try:
        wait_until(lambda: not limited.is_ready(), "it says that it is not ready")
        assert said_again(limited.roles, known) == [], limited.logs()
        assert all(role.is_running for role in limited.roles)
        answer = limited.api.get("/readyz")
        assert (answer.status_code, answer.json()["absent"]) == (503, ["Redis"])
    finally:
        set_rules(own_redis, "limited", MANAGED)
    wait_until(limited.is_ready, "it is ready again")
    import_feed(limited, taken.strip("-@"))


def test_writes_refused_while_running_are_said_and_fill_no_log(
    limited: Deployment, guarded_failing: FailPoints
) -> None:
    refused = ("update", "insert", "findAndModify", "delete")
    known = lines_of(limited.roles)
    guarded_failing.fail(*refused, times=None, errorCode=13)
    wait_until(lambda: not limited.is_ready(), "it says that it is not ready")
    assert said_again(limited.roles, known) == [], limited.logs()
    answer = limited.api.post("/imports/start", json={"source": "other", "document": FEED})
    assert answer.status_code == 503
    guarded_failing.off()
    wait_until(limited.is_ready, "it is ready again")
    import_feed(limited, "other")
