"""One secret in every place that has to hold one; then it is looked for everywhere else."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from pymongo import MongoClient

from tests.feeds.make_feed import make_feed
from tests.processes import Deployment, deployment, wait_until
from tests.publisher import Answer, Publisher, Received
from tests.servers import RunningServer, start_mongodb, start_valkey

SECRET = "s3cr3t-XYZZY"
API_KEY = f"{SECRET}-{'k' * 32}"
DATABASE = "feedmill"
AT_ONCE = 10
HEADERS = {"X-Api-Key": SECRET, "Authorization": f"Bearer {SECRET}"}
# An item whose address is the document's own, an address in it, and one that cannot be stored.
OWN_ADDRESS = """<rss version="2.0"><channel><title>t</title>
<item><guid>1</guid><title>here</title><link>#here</link></item>
<item><guid>2</guid><title>there</title><link>?page=2</link></item>
<item><title>nowhere</title><link>.</link></item></channel></rss>"""
UNREADABLE = '{"version": "https://jsonfeed.org/version/1.1", "items": [{"id": [1], "title": "t"}]}'
# What ends each import; the paths are those of the publisher, the rest are addresses of others.
PATHS = {
    "/good": "completed",
    "/own-address": "completed",
    "/unreadable-item": "completed",
    "/page": "html",
    "/401": "blocked",
    "/500": "http_status",
    "/moved": "completed",
    "/loop": "redirect",
    "/nowhere": "redirect",
    "/odd-redirect": "redirect",
    "/slow": "timeout",
    "/cut": "connect",
}
UNKNOWN_HOST = "http://nowhere.invalid"


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RunningServer]:
    server = start_valkey(tmp_path / "valkey")
    client = redis.Redis.from_url(server.url)
    client.config_set("requirepass", SECRET)
    client.close()
    yield server
    server.stop()


@pytest.fixture
def mongodb_server(tmp_path: Path) -> Iterator[RunningServer]:
    folder = tmp_path / "mongodb"
    open_door = start_mongodb(folder)
    client: MongoClient[dict[str, Any]] = MongoClient(open_door.url)
    roles = [{"role": "readWriteAnyDatabase", "db": "admin"}]
    client.admin.command("createUser", "feedmill", pwd=SECRET, roles=roles)
    client.close()
    open_door.stop_politely()
    server = start_mongodb(folder, "--auth")
    yield server
    server.stop()


@pytest.fixture
def deployed(
    tmp_path: Path, redis_server: RunningServer, mongodb_server: RunningServer
) -> Iterator[Deployment]:
    redis_url = redis_server.url.replace("redis://", f"redis://:{SECRET}@")
    mongodb_url = mongodb_server.url.replace("mongodb://", f"mongodb://feedmill:{SECRET}@")
    mongodb_url += f"/{DATABASE}?authSource=admin"
    settings = {
        "API_KEY": API_KEY,
        "API_READ_KEYS": f"{SECRET}-r",
        "LOG_LEVEL": "DEBUG",
        "FETCH_TIMEOUT_S": "1",
    }
    with deployment(tmp_path, redis_url, mongodb_url, **settings) as deployed:
        deployed.api.headers["Authorization"] = f"Bearer {API_KEY}"
        yield deployed


def publish(publisher: Publisher) -> None:
    def redirect_with_all(request: Received) -> Answer:
        """Carry the query on, as servers do that move a whole site."""
        _, _, query = request.path.partition("?")
        return Answer(301, headers={"Location": f"/good?{query}"})

    publisher.serve("/good", make_feed(3))
    publisher.serve("/own-address", OWN_ADDRESS)
    publisher.serve("/unreadable-item", UNREADABLE)
    publisher.answer("/page", Answer(body=b"<html>no feed</html>"))
    publisher.answer("/401", Answer(401, headers={"WWW-Authenticate": "Basic"}))
    publisher.answer("/500", Answer(500))
    publisher.script("/moved", redirect_with_all)
    publisher.redirect("/loop", f"/loop?token={SECRET}")
    publisher.redirect("/nowhere", f"ftp://me:{SECRET}@x.example/?token={SECRET}")
    publisher.redirect("/odd-redirect", f"http://[me:{SECRET}/?token={SECRET}")
    publisher.answer("/slow", Answer(hang=True))
    publisher.answer("/cut", Answer(body=b"x" * 1000, cut=True))


def secret_url(address: str) -> str:
    return address.replace("http://", f"http://me:{SECRET}@") + f"?page=1&token={SECRET}"


def import_all(deployed: Deployment, publisher: Publisher) -> list[str]:
    """Import every path, those that answer with a feed twice; return the ids of all imports."""
    addresses = {publisher.url(path): outcome for path, outcome in PATHS.items()}
    addresses[UNKNOWN_HOST] = "dns"
    with Publisher() as gone:
        addresses[gone.url()] = "connect"
    started = []
    for number, (address, outcome) in enumerate(addresses.items()):
        feed = {"url": secret_url(address), "source": f"feed-{number}", "headers": HEADERS}
        answer = deployed.api.post("/feeds", json={**feed, "enabled": False})
        assert answer.status_code == 201, answer.text
        assert SECRET not in answer.text
        started.append((feed["source"], outcome))
    good = [(source, outcome) for source, outcome in started if outcome == "completed"]
    return run_imports(deployed, started) + run_imports(deployed, good)


def run_imports(deployed: Deployment, wanted: list[tuple[str, str]]) -> list[str]:
    """Import feeds, all at once, and see that each ends as it should."""
    import_ids = [deployed.start_import(sources=[source]) for source, _ in wanted]
    for import_id, (source, outcome) in zip(import_ids, wanted, strict=True):
        ended = deployed.wait_until_closed(import_id)
        kind = "completed" if ended["state"] == "completed" else ended["error_kind"]
        assert (source, kind) == (source, outcome), ended
    return import_ids


def collect_answers(deployed: Deployment, import_ids: list[str]) -> dict[str, str]:
    """Ask everything that can be asked, and a few things that cannot."""
    paths = ["/feeds", "/feeds.opml", "/imports", "/queues", "/dlq", "/items", "/metrics"]
    paths += ["/healthz", "/readyz", "/openapi.json"]
    paths += [f"/feeds/feed-{number}" for number in range(len(PATHS) + 2)]
    paths += [f"/imports/{each}{tail}" for each in import_ids for tail in ("", "/events")]
    for queue in [queue["name"] for queue in deployed.api.get("/queues").json()["items"]]:
        states = ("completed", "failed", "waiting", "delayed", "active")
        paths += [f"/queues/{queue}", *(f"/queues/{queue}/jobs?state={each}" for each in states)]
    paths += [f"/dlq/{entry['id'].replace('#', '%23')}" for entry in dead_letters(deployed)]
    # Events of an import that has ended come a quarter of a second late.
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = dict(zip(paths, pool.map(deployed.api.get, paths), strict=True))
    assert {answer.status_code for answer in answers.values()} == {200}
    for path in ("/feeds", "/imports/start"):
        for url in (f"http://me:{SECRET}@224.0.0.1/", f"ftp://me:{SECRET}@x/?token={SECRET}"):
            answers[f"{path} {url[:3]}"] = refused = deployed.api.post(path, json={"url": url})
            assert refused.status_code == 422
    answers["/feeds again"] = deployed.api.post(
        "/feeds", json={"url": secret_url(UNKNOWN_HOST), "source": "feed-0"}
    )
    return {path: answer.text + str(answer.headers) for path, answer in answers.items()}


def dead_letters(deployed: Deployment) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = deployed.api.get("/dlq").json()["items"]
    return found


def dump_redis(deployed: Deployment) -> dict[str, str]:
    """Every key with its value, in whatever type."""
    client = deployed.redis
    read = {
        "string": client.get,
        "hash": client.hgetall,
        "list": lambda key: client.lrange(key, 0, -1),
        "set": client.smembers,
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        "stream": client.xrange,
    }
    return {str(key): str(read[client.type(key)](key)) for key in client.scan_iter()}


def dump_mongodb(deployed: Deployment) -> dict[str, str]:
    """Every document but the configuration of feeds, and what an import was started with."""
    database = deployed.mongo[DATABASE]
    documents = {}
    for name in database.list_collection_names():
        for document in database[name].find():
            if name == "imports":
                document.pop("urls")
                # Copied to the feed: the addresses to which validators belong.
                document.pop("feed_step", None)
            if name != "feeds":
                documents[f"{name} {document['_id']}"] = str(document)
    return documents


def command_lines(deployed: Deployment) -> dict[str, str]:
    """What ``ps`` shows of the roles and all that they started."""
    ours = {role.process.pid for role in deployed.roles}
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            line = (folder / "cmdline").read_text().replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended meanwhile
        if int(folder.name) in ours or parent in ours:
            found[f"{folder.name} {line[:60]}"] = line
    return found


def leaks(texts: dict[str, str]) -> list[str]:
    """Return where the secret is, with what stands around it."""
    places = ((name, text.find(SECRET), text) for name, text in texts.items())
    return [f"{name}: {text[max(at - 80, 0) : at + 40]}" for name, at, text in places if at >= 0]


@pytest.mark.slow
def test_a_secret_is_seen_by_nobody_but_the_publisher_it_is_meant_for(
    deployed: Deployment, publisher: Publisher
) -> None:
    publish(publisher)
    deployed.start_server()
    # It starts while feeds are fetched.
    deployed.launch("worker")
    import_ids = import_all(deployed, publisher)
    wait_until(lambda: len(dead_letters(deployed)) == 1, "the unreadable item is dead")
    seen = {
        "answers": collect_answers(deployed, import_ids),
        "logs": dict(enumerate_texts(deployed.logs())),
        "Redis": dump_redis(deployed),
        "MongoDB": dump_mongodb(deployed),
        "processes": command_lines(deployed),
    }
    print({name: len(texts) for name, texts in seen.items()})
    assert all(seen.values())
    assert len(seen["processes"]) >= 3, "the roles and a parser"
    found = [f"{where}: {leak}" for where, texts in seen.items() for leak in leaks(texts)]
    assert not found, "\n".join(found)
    asked = [request for request in publisher.requests if request.path.startswith("/good?page")]
    assert {request.header("X-Api-Key") for request in asked} == {SECRET}
    assert any(SECRET in request.path for request in asked)
    feeds = json.dumps(list(deployed.mongo[DATABASE]["feeds"].find()), default=str)
    assert SECRET in feeds


def enumerate_texts(texts: list[str]) -> Iterator[tuple[str, str]]:
    for number, text in enumerate(texts):
        for line_number, line in enumerate(text.splitlines()):
            yield f"log {number} line {line_number}", line
