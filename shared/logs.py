"""Log lines: constant events with fields, one line each, secrets masked, to standard error."""

import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, cast

import orjson
import structlog
from structlog.typing import EventDict, Processor

from shared.reasons import text_of
from shared.urls import MASK, mask_secrets

_SECRET_FIELDS = frozenset(
    {
        "password",
        "api_key",
        "api_read_keys",
        "authorization",
        "secret",
        "cookie",
        "set-cookie",
        "x-api-key",
    }
)
_OWN_FIELDS = frozenset({"logger", "level", "timestamp", "exception"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# What these say at INFO is said better by our own events, once per import instead of per request.
_QUIET_LIBRARIES = ("apscheduler", "httpx2", "httpcore2", "pymongo", "uvicorn", "asyncio")
# How often a line about an error is written that says the same as before.
REPEAT_EVERY_S = 30.0
_MAX_REMEMBERED = 1000
_REPEATABLE = frozenset({"info", "warning"})


class RepeatFilter:
    """Drops lines about an error that say the same as one of the last 30 s, numbers aside.

    Loops try again for as long as a store is away; what they would say each second stands in the
    log once, and then every 30 s with how often it came in between (``repeated``). A structlog
    processor, safe for threads.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._mutex = threading.Lock()
        # By what is said: when it was last written, and how often it was dropped since.
        self._written: dict[tuple[object, ...], tuple[float, int]] = {}

    def __call__(self, logger: Any, method: str, event: EventDict) -> EventDict:
        """Return the event, or drop it."""
        if method not in _REPEATABLE or not isinstance(event.get("error"), str):
            return event
        words = sorted((name, value) for name, value in event.items() if isinstance(value, str))
        key = (getattr(logger, "name", None), *words)
        with self._mutex:
            now_s = self._now_s()
            written_s, dropped = self._written.get(key, (float("-inf"), 0))
            if now_s - written_s < REPEAT_EVERY_S:
                self._written[key] = (written_s, dropped + 1)
                raise structlog.DropEvent
            self._forget_old(now_s)
            self._written[key] = (now_s, 0)
        return {**event, "repeated": dropped} if dropped else event

    def _forget_old(self, now_s: float) -> None:
        if len(self._written) >= _MAX_REMEMBERED:
            self._written = {
                key: (written_s, dropped)
                for key, (written_s, dropped) in self._written.items()
                if now_s - written_s < REPEAT_EVERY_S
            }


def configure_logs(level: str, log_format: str) -> None:
    """Send this process's log lines, and those of libraries, to standard error.

    ``level`` is a name as ``INFO``; ``log_format`` is ``console`` or ``json`` (one object a line).
    Calling it again replaces what was set before.
    """
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            RepeatFilter(),
            *_shared_processors(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(log_format))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    _route_libraries(level)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of one part; ``name`` appears in each of its lines as ``logger``."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def _shared_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _formatter(log_format: str) -> structlog.stdlib.ProcessorFormatter:
    renderer: list[Processor]
    if log_format == "json":
        renderer = [mask_event, structlog.processors.JSONRenderer(serializer=_to_json)]
    else:
        colours = sys.stderr.isatty()
        plain = structlog.dev.plain_traceback
        renderer = [
            mask_event,
            structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=plain),
        ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_shared_processors(), structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            *renderer,
        ],
    )


def mask_event(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Mask secrets in every field, and make the event itself one line."""
    masked = cast(dict[str, Any], _mask(event))
    masked["event"] = _CONTROL.sub(" ", str(masked.get("event", "")))
    # Uvicorn repeats its message there, with escape codes.
    masked.pop("color_message", None)
    return masked


def _mask(value: Any) -> Any:
    if isinstance(value, str):
        return mask_secrets(value)
    if isinstance(value, Mapping):
        return {key: MASK if _is_secret(key) else _mask(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_mask(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return mask_secrets(text_of(value))


def _is_secret(key: object) -> bool:
    return text_of(key).lower() in _SECRET_FIELDS


def _to_json(event: MutableMapping[str, Any], **_options: Any) -> str:
    options = orjson.OPT_NON_STR_KEYS
    try:
        return orjson.dumps(event, default=str, option=options).decode()
    except TypeError:
        # A lone surrogate from some feed, or an integer beyond 64 bits: no reason to lose the line.
        printable = {key: ascii(value) for key, value in event.items() if key not in _OWN_FIELDS}
        own = {key: str(value) for key, value in event.items() if key in _OWN_FIELDS}
        return orjson.dumps({**printable, **own}, option=options).decode("utf-8", "replace")


def _route_libraries(level: str) -> None:
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    quiet = logging.DEBUG if level == "DEBUG" else logging.WARNING
    for name in _QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(max(quiet, logging.INFO))
