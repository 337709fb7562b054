"""Whether a Redis lets its login do what queues need, found out by doing it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from redis.exceptions import ResponseError

from shared.errors import QueueError, QueueFull, QueueRefused
from shared.queue.connection import RedisConnection, map_error, run, text
from shared.queue.keys import QueueKeys
from shared.queue.scripts import call, call_unloaded

_SCRIPT = "probe"
_MAX_NAMED = 8


def check_permissions(client: RedisConnection, prefix: str, queue_names: Sequence[str]) -> None:
    """Do once all that the queues of these names need, on keys of their own.

    Nothing is left behind, and any number of processes may check at once. A full Redis passes:
    jobs can still be settled there. Four round trips.

    Raises:
        QueueRefused: it refuses something; the text names everything that it refuses.
        QueueUnavailable: it cannot serve now, being a replica or loading, for example.
    """
    # The last one is for what is kept beside the queues, as the workers' signs of life.
    bases = (*(QueueKeys(prefix, name).base for name in queue_names), f"{prefix}:")
    refused = dict(_find_refused_in_scripts(client, bases))
    refused |= _refusal_of(client, "PING")
    refused |= _refusal_of_waiting(client, bases[0])
    _raise_if_any(refused)


def probe_queue(client: RedisConnection, base: str) -> None:
    """Do what one queue needs, as a sign that its jobs can be moved; two round trips.

    Raises:
        QueueRefused: Redis refuses scripts, or a command.
        QueueUnavailable: it cannot serve now.
    """
    refused = dict(_read_refused(call(client, _SCRIPT, (base,), [])))
    refused |= _refusal_of_waiting(client, base)
    _raise_if_any(refused)


def allows_client_names(client: RedisConnection) -> bool:
    """Tell whether connections may have names, by which BullMQ finds a queue's workers."""
    try:
        run(client, "CLIENT", "SETNAME", "")
    except QueueRefused:
        return False
    return True


def _find_refused_in_scripts(
    client: RedisConnection, bases: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    # By EVAL first: EVALSHA is enough only until Redis forgets a script.
    for run_script in (call_unloaded, call):
        try:
            yield from _read_refused(run_script(client, _SCRIPT, bases, []))
        except QueueRefused as exc:
            if exc.is_cluster:
                raise
            yield exc.what, _words_of(exc)


def _read_refused(answer: Sequence[bytes]) -> Iterator[tuple[str, str]]:
    """Yield the commands that a probe met with a refusal, each with Redis' words."""
    for command, words in zip(answer[::2], answer[1::2], strict=True):
        error = map_error(ResponseError(text(words)))
        if isinstance(error, QueueFull):
            continue
        if not isinstance(error, QueueRefused):
            raise error
        yield text(command), _words_of(error)


def _refusal_of_waiting(client: RedisConnection, base: str) -> Mapping[str, str]:
    # Not from a script: Redis 6 lets none wait. Rights are looked at before arguments are: where
    # it is allowed, the answer comes at once, an error about a time to wait that is none.
    return _refusal_of(client, "BZPOPMIN", f"{base}own:probe", "not at all")


def _refusal_of(client: RedisConnection, *command: Any) -> Mapping[str, str]:
    try:
        run(client, *command)
    except QueueRefused as exc:
        return {exc.what: _words_of(exc)}
    except QueueError as exc:
        if exc.retryable:
            raise
    return {}


def _words_of(error: QueueRefused) -> str:
    return str(error).partition(": ")[2] or str(error)


def _raise_if_any(refused: Mapping[str, str]) -> None:
    if refused:
        names = _name_some(refused)
        words = next(iter(refused.values()))
        raise QueueRefused(f"Redis refuses its login {names} ({words})", what=names)


def _name_some(refused: Mapping[str, str]) -> str:
    names = sorted(refused)
    more = len(names) - _MAX_NAMED
    shown = ", ".join(names[:_MAX_NAMED])
    return f"{shown} and {more} more" if more > 0 else shown
