"""Rights that are taken away while a server runs: said by health checks, answers and pages."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from shared.queue import RedisConnection, connect, disconnect
from shared.store import Stores
from tests.api import Api, open_api
from tests.failpoints import FailPoints
from tests.logins import redis_login, set_rules

NAME = "taken"
START = {"source": "lwn", "document": "<rss version='2.0'><channel/></rss>"}


@dataclass
class Login:
    """The API's own login to Redis, whose rights come and go."""

    api: Api
    redis: RedisConnection

    def change(self, rules: str) -> None:
        set_rules(self.redis, NAME, rules)


@pytest.fixture
def login(redis_client: RedisConnection, valkey_url: str, stores: Stores) -> Iterator[Login]:
    with redis_login(redis_client, valkey_url, NAME, "~bull:* +@all") as url:
        client = connect(url)
        try:
            with open_api(client, stores) as api:
                yield Login(api, redis_client)
        finally:
            disconnect(client)


@pytest.mark.parametrize(
    ("taken", "named"),
    [("-evalsha", "EVALSHA"), ("-@scripting", "EVALSHA"), ("-zadd -xadd", "XADD, ZADD")],
)
def test_redis_that_refuses_a_command_is_not_ready_and_says_which(
    login: Login, taken: str, named: str
) -> None:
    client = login.api.client
    assert client.get("/readyz").status_code == 200
    login.change(taken)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["absent"]) == (503, ["Redis"])
    assert answer.json()["detail"] == f"Redis refuses {named}"
    login.change("+@all")
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize("taken", ["-@scripting", "-zadd", "resetkeys"])
def test_start_that_redis_refuses_is_a_problem_document_of_its_own(
    login: Login, taken: str
) -> None:
    login.change(taken)
    answer = login.api.post("/imports/start", START)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].startswith("Redis refuses ")
    assert "feedmill doctor" in answer.json()["detail"]
    assert NAME not in answer.text


def test_overview_says_what_is_refused_and_who_knows_more(login: Login) -> None:
    login.change("-@scripting")
    page = login.api.show_page("/")
    assert "Redis refuses EVALSHA." in page
    assert "feedmill doctor" in page


@pytest.mark.parametrize("code", [13, 8000])
def test_mongodb_that_refuses_writes_is_not_ready(api: Api, failing: FailPoints, code: int) -> None:
    assert api.client.get("/readyz").status_code == 200
    failing.fail("update", "insert", times=None, errorCode=code)
    # The last write stands for others for 2 s.
    assert api.client.get("/readyz").status_code == 200
    api.clock.advance(seconds=2)
    answer = api.client.get("/readyz")
    assert (answer.status_code, answer.json()["absent"]) == (503, ["MongoDB"])
    assert answer.json()["detail"] == "MongoDB refuses an operation"
    refused = api.post("/imports/start", START)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert refused.json()["detail"].startswith("MongoDB refuses ")
    failing.off()
    assert api.client.get("/readyz").status_code == 200


def test_writes_without_a_majority_are_not_ready(api: Api, failing: FailPoints) -> None:
    error = {"code": 100, "errmsg": "Not enough data-bearing nodes"}
    failing.fail("update", times=None, writeConcernError=error)
    answer = api.client.get("/readyz")
    assert (answer.status_code, answer.json()["absent"]) == (503, ["MongoDB"])
