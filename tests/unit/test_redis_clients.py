"""Whether clients are of one Redis, by what they were made with."""

import pytest

from shared.queue import connect
from shared.queue.clients import is_same_database

_SENTINELS = "redis+sentinel://one:1,two:2/main/3"


@pytest.mark.parametrize(
    ("url", "other", "is_same"),
    [
        ("redis://h:1/2", "redis://:pw@h:1/2?socket_timeout=7", True),
        ("redis://localhost", "redis://localhost:6379/0", True),
        ("redis://h:1/2", "redis://h:1/3", False),
        ("redis://h:1/2", "redis://g:1/2", False),
        ("unix:///run/redis.sock", "unix:///run/redis.sock?db=0", True),
        ("unix:///run/redis.sock", "unix:///run/other.sock", False),
        (_SENTINELS, "redis+sentinel://two:2/main/3", True),
        (_SENTINELS, "redis+sentinel://one:1,two:2/other/3", False),
        (_SENTINELS, "redis+sentinel://one:1,two:2/main/4", False),
        (_SENTINELS, "redis+sentinel://three:3/main/3", False),
        (_SENTINELS, "redis://one:1/3", False),
    ],
)
def test_clients_are_of_one_redis_where_they_name_one(
    url: str, other: str, *, is_same: bool
) -> None:
    assert is_same_database(connect(url), connect(other)) == is_same
