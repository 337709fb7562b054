"""What an answer by which Redis refuses a command means to who sent it."""

import pytest
from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from shared.errors import QueueError, QueueUnavailable
from shared.queue.connection import redis_errors


@pytest.mark.parametrize(
    "error",
    [
        BusyLoadingError("Redis is loading the dataset in memory"),
        ReadOnlyError("You can't write against a read only replica."),
        MasterDownError("Link with MASTER is down and replica-serve-stale-data is set to 'no'."),
        ClusterDownError("The cluster is down"),
        TryAgainError("Multiple keys request during rehashing of slot"),
        ResponseError("LOADING Valkey is loading the dataset in memory"),
        ResponseError("NOREPLICAS Not enough good replicas to write."),
    ],
    ids=lambda error: str(error)[:20],
)
def test_what_redis_refuses_for_a_while_is_an_outage(error: RedisError) -> None:
    with pytest.raises(QueueUnavailable) as caught, redis_errors():
        raise error
    assert caught.value.retryable


def test_a_key_of_another_type_is_no_outage() -> None:
    with pytest.raises(QueueError) as caught, redis_errors():
        raise ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
    assert not isinstance(caught.value, QueueUnavailable)
