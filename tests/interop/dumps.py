"""All that Redis holds under a prefix, comparable between two implementations and two runs.

Hidden is what differs between two runs of Node itself, and nothing else: times, random ids and
tokens, ids of stream entries, the order of JSON's keys, a stack below its first line; a time to
live is shown by its size. Keys that are our own (``own:``) are left out, for Node has none.
"""

import json
import re
from collections.abc import Collection
from typing import Any

from shared.queue import RedisConnection

_EPOCH_MS = re.compile(r"(?<!\d)1[6-9]\d{11}(?!\d)")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TTL_STEPS_MS = (1000, 5000, 30_000, 60_000, 3_600_000)
_JSON_FIELDS = frozenset({"opts", "data", "parent", "progress", "returnvalue", "stacktrace"})

Dump = dict[str, list[Any]]


def dump(client: RedisConnection, prefix: str, volatile: Collection[str] = ()) -> Dump:
    """Return every key under ``prefix``, by its type and name.

    ``volatile`` names fields of jobs ("delay") and of their opts ("opts.delay") that differ between
    two runs of Node for this operation.
    """
    reader = _Reader(client, prefix, volatile)
    keys = sorted(key.decode() for key in client.scan_iter(match=f"{prefix}:*", count=1000))
    shown = [key for key in keys if ":own:" not in key]
    # Events first: their order numbers the random ids alike in both dumps.
    shown.sort(key=lambda key: not key.endswith(":events"))
    found: Dump = {}
    for key in shown:
        # Jobs of one scheduler are told apart by their times only.
        found.setdefault(reader.head(key), []).append(reader.content(key))
    return dict(sorted(found.items()))


class _Reader:
    def __init__(self, client: RedisConnection, prefix: str, volatile: Collection[str]) -> None:
        self._client = client
        self._prefix = re.compile(rf"(?<![\w-]){re.escape(prefix)}:")
        self._volatile = volatile
        self._uuids: dict[str, str] = {}

    def head(self, key: str) -> str:
        kind, ttl_ms = self._client.type(key).decode(), self._client.pttl(key)
        steps = [f"<={step // 1000}s" for step in _TTL_STEPS_MS if ttl_ms <= step]
        ttl = "" if ttl_ms < 0 else f" ttl{(steps or ['long'])[0]}"
        return f"{self._clean(key)} {kind}{ttl}"

    def content(self, key: str) -> Any:
        client, kind = self._client, self._client.type(key).decode()
        match kind:
            case "string":
                return self._clean(client.get(key))
            case "list":
                return [self._clean(member) for member in client.lrange(key, 0, -1)]
            case "set":
                return sorted(self._clean(member) for member in client.smembers(key))
            case "zset":
                pairs = client.zrange(key, 0, -1, withscores=True)
                return [(self._clean(member), self._score(key, score)) for member, score in pairs]
            case "hash":
                return self._fields(client.hgetall(key))
        assert kind == "stream"
        return [self._fields(fields) for _, fields in client.xrange(key)]

    def _fields(self, fields: dict[bytes, bytes]) -> dict[str, Any]:
        shown = {self._clean(name): value for name, value in fields.items()}
        return {
            name: self._field(name, value)
            for name, value in sorted(shown.items())
            if name not in self._volatile
        }

    def _field(self, name: str, value: bytes) -> Any:
        if name not in _JSON_FIELDS:
            return self._clean(value)
        decoded = json.loads(value)
        if name == "stacktrace":
            decoded = [stack.split("\n")[0] for stack in decoded]
        if isinstance(decoded, dict):
            decoded = {k: v for k, v in decoded.items() if f"{name}.{k}" not in self._volatile}
        return self._clean(json.dumps(decoded, sort_keys=True))

    def _score(self, key: str, score: float) -> str:
        if key.endswith(":delayed"):
            return f"{self._clean(str(int(score) >> 12))}*4096+{int(score) & 0xFFF}"
        if key.endswith(":prioritized"):
            return f"{int(score) >> 32}*2^32+{int(score) & 0xFFFFFFFF}"
        # The marker's may carry a fraction of a millisecond.
        return self._clean(str(int(score)))

    def _clean(self, value: bytes | str) -> str:
        text = value if isinstance(value, str) else value.decode()
        text = self._prefix.sub("<prefix>:", text)
        numbered = _UUID.sub(self._number, text)
        return _EPOCH_MS.sub("<ms>", re.sub(r"(<uuid\d+>):\d+$", r"\1:<n>", numbered))

    def _number(self, found: re.Match[str]) -> str:
        return self._uuids.setdefault(found[0], f"<uuid{len(self._uuids) + 1}>")
