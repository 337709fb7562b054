"""Logins of stores that may do less than all: made for a test, taken back, and gone after it."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from shared.queue import RedisConnection

PASSWORD = "pw"
# What the managed Redis of a report allows: neither CONFIG nor CLIENT, but INFO.
MANAGED = "~bull:* &* +@all -@dangerous -@admin +info"


@contextmanager
def redis_login(redis: RedisConnection, url: str, name: str, rules: str) -> Iterator[str]:
    """Make a user of Redis with these ACL rules; gives the URL with its login."""
    set_rules(redis, name, f"reset on >{PASSWORD} {rules}")
    try:
        yield f"redis://{name}:{PASSWORD}@{urlsplit(url).netloc}/0"
    finally:
        redis.execute_command("ACL", "DELUSER", name)


def set_rules(redis: RedisConnection, name: str, rules: str) -> None:
    """Change what a user of Redis may do; connections that are open obey at once."""
    redis.execute_command("ACL", "SETUSER", name, *rules.split())
