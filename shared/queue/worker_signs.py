"""Signs of life: what each worker says of itself, gone by itself when it says nothing more.

Beside a queue's own keys, at ``<prefix>:own:workers``: a set of ids, and a text per id that lives
for ``SIGN_TTL_MS``. Times are ages, so that the clocks of two machines need not agree.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite

import orjson

from shared.queue.connection import RedisConnection, raw, run, run_all, text

SIGN_EVERY_S = 2.0
# A busy machine may miss four of them.
SIGN_TTL_MS = 10_000


@dataclass(frozen=True, slots=True)
class WorkerSign:
    """What a worker says: whose jobs it takes, what it holds, and whether MongoDB stops it.

    ``breaker_reason`` is None while the breaker is closed; ``breaker_open_s`` tells for how long
    it had been open, ``up_s`` how long the worker had run. ``failing_threads`` are in words: which
    loop fails, how often in a row and of what.
    """

    worker_id: str
    queues: tuple[str, ...]
    held_jobs: int
    up_s: float
    breaker_reason: str | None = None
    breaker_open_s: float = 0.0
    failing_threads: tuple[str, ...] = ()

    @property
    def is_breaker_open(self) -> bool:
        """Whether it claims nothing, for MongoDB cannot store anything."""
        return self.breaker_reason is not None


class WorkerSigns:
    """Leaves, takes away and reads the signs of all workers of one prefix.

    Raises (all methods): ``QueueUnavailable`` when Redis cannot serve.
    """

    def __init__(self, client: RedisConnection, *, prefix: str = "bull") -> None:
        self._client = client
        self._ids = f"{prefix}:own:workers"

    def leave(self, sign: WorkerSign) -> None:
        """Write a worker's sign over its last one; one round trip."""
        written = orjson.dumps(asdict(sign))
        run_all(
            self._client,
            [
                ("SET", raw(self._key(sign.worker_id)), written, "PX", SIGN_TTL_MS),
                ("SADD", self._ids, raw(sign.worker_id)),
                ("PEXPIRE", self._ids, SIGN_TTL_MS),
            ],
        )

    def take_away(self, worker_id: str) -> None:
        """Let nothing remain of a worker that stops."""
        run_all(
            self._client,
            [("DEL", raw(self._key(worker_id))), ("SREM", self._ids, raw(worker_id))],
        )

    def read(self) -> list[WorkerSign]:
        """Return the signs of the workers that live, by id; forgets those that died.

        Signs that cannot be read are left out.
        """
        ids = sorted(text(each) for each in run(self._client, "SMEMBERS", self._ids))
        if not ids:
            return []
        found = run(self._client, "MGET", *(raw(self._key(each)) for each in ids))
        dead = [each for each, written in zip(ids, found, strict=True) if written is None]
        if dead:
            run(self._client, "SREM", self._ids, *map(raw, dead))
        signs = [_decode(written) for written in found if written is not None]
        return [sign for sign in signs if sign is not None]

    def _key(self, worker_id: str) -> str:
        return f"{self._ids}:{worker_id}"


def find_workers(signs: Sequence[WorkerSign], queue_name: str) -> list[WorkerSign]:
    """Return the workers that take jobs of a queue."""
    return [sign for sign in signs if queue_name in sign.queues]


def _decode(written: bytes) -> WorkerSign | None:
    """Return a sign; None for one that cannot be read, as another version may leave."""
    # A worker of a newer version may say more.
    known = {field.name for field in fields(WorkerSign)}
    try:
        said = {name: value for name, value in orjson.loads(written).items() if name in known}
        said["queues"] = tuple(said["queues"])
        said["failing_threads"] = tuple(said.get("failing_threads", ()))
        sign = WorkerSign(**said)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return sign if _is_sound(sign) else None


def _is_sound(sign: WorkerSign) -> bool:
    """Return whether each field holds what it should: anybody may write there."""
    texts = (sign.worker_id, *sign.queues, *sign.failing_threads, sign.breaker_reason or "")
    numbers = (sign.up_s, sign.breaker_open_s, sign.held_jobs)
    return (
        all(isinstance(each, str) for each in texts)
        and all(isinstance(each, int | float) and isfinite(each) for each in numbers)
        and isinstance(sign.held_jobs, int)
    )
