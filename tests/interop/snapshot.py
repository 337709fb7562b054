"""A queue as Redis holds it, without what differs from one run to the next."""

import json
import re
from typing import Any

from shared.queue import RedisConnection

_EPOCH_MS = re.compile(r"(?<!\d)1[6-9]\d{11}(?!\d)")
# What only one side writes: Node its version and its stalled check, we our own counters.
_NOT_COMPARED_KEYS = ("stalled-check",)
_NOT_COMPARED_FIELDS = frozenset({"version", "pb", "revision", "tally", "solo"})
_JSON_FIELDS = frozenset({"opts", "data", "parent", "returnvalue"})


def snapshot(client: RedisConnection, prefix: str) -> dict[str, Any]:
    """Return every key under ``prefix``, normalised so that two implementations compare equal."""
    found: dict[str, Any] = {}
    for raw_key in client.scan_iter(match=f"{prefix}:*", count=1000):
        key = raw_key.decode()
        name = key.removeprefix(f"{prefix}:")
        if ":own:" in name or name.endswith(_NOT_COMPARED_KEYS):
            continue
        found[name] = _content(client, key, prefix)
    return found


def _content(client: RedisConnection, key: str, prefix: str) -> Any:
    kind = client.type(key).decode()
    if kind == "string":
        return _clean(client.get(key), prefix)
    if kind == "list":
        return [_clean(member, prefix) for member in client.lrange(key, 0, -1)]
    if kind == "set":
        return sorted(_clean(member, prefix) for member in client.smembers(key))
    if kind == "zset":
        pairs = client.zrange(key, 0, -1, withscores=True)
        return [(_clean(member, prefix), _score(key, score)) for member, score in pairs]
    if kind == "hash":
        return _fields(client.hgetall(key), prefix)
    assert kind == "stream"
    return [_fields(fields, prefix) for _, fields in client.xrange(key)]


def _fields(fields: dict[bytes, bytes], prefix: str) -> dict[str, Any]:
    cleaned: dict[str, Any] = {}
    for raw_name, value in fields.items():
        name = _clean(raw_name, prefix)
        if name == "stacktrace":
            cleaned[name] = f"{len(json.loads(value))} stacks"
        elif name in _JSON_FIELDS:
            cleaned[name] = json.loads(_clean(value, prefix).replace("<ms>", "0"))
        elif name not in _NOT_COMPARED_FIELDS:
            cleaned[name] = _clean(value, prefix)
    return cleaned


def _clean(value: bytes, prefix: str) -> str:
    text = value.decode().replace(f"{prefix}:", "<prefix>:")
    return _EPOCH_MS.sub("<ms>", text)


def _score(key: str, score: float) -> str:
    if key.endswith(":delayed"):
        return f"<ms>*4096+{int(score) % 4096}"
    return "<ms>" if score > 1e12 and not key.endswith(":prioritized") else f"{score:.0f}"
