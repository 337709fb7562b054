"""What a setting's value may look like, and how a wrong one is reported.

Each ``check_…`` returns the value, tidied, or raises ValueError with what is accepted.
"""

import ipaddress
import re
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from urllib.parse import SplitResult, urlsplit

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from shared.urls import MASK, mask_secrets

MAX_SHOWN_CHARACTERS = 120
ANY_HOST = "*"
# First parts of the server's own paths: a root path that begins so would hide them.
OWN_PATHS = frozenset({
    "admin", "backfills", "dlq", "docs", "feeds", "feeds.opml", "healthz", "hosts", "imports",
    "items", "metrics", "openapi.json", "queues", "readyz", "schemas", "settings", "workers",
})  # fmt: skip
# No "." or ".." alone, which browsers resolve.
_ROOT_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)+")

_SECRETS = {"REDIS_PASSWORD", "API_KEY", "API_READ_KEYS"}
_UNITS = {"ms": "milliseconds", "s": "seconds", "bytes": "bytes", "days": "days"}
_KEY_PART = re.compile(r"[^\s\x00-\x1f\x7f]{1,100}")
_QUEUE_NAME = re.compile(r"[^\s:\x00-\x1f\x7f]{1,100}")
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_HEADER_TOKEN = re.compile(r"[\x21-\x7e]+")
_HOST = re.compile(r"[A-Za-z0-9._:%-]+")
_DOMAIN = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")
_RATE_LIMIT = re.compile(r"[1-9][0-9]*/([1-9][0-9]*)?(second|minute|hour|day)s?")
_MONGODB_URL = re.compile(r"mongodb(\+srv)?://([^/?\s]*@)?[^@/?\s]+(/[^/?\s]*)?(\?\S*)?")
# Ports and options are read where the connections are made.
_REDIS_NODES_URL = re.compile(
    r"rediss?\+(sentinel://([^/?\s]*@)?[^@/?\s]+/[^/?\s]+(/[0-9]+)?|"
    r"cluster://([^/?\s]*@)?[^@/?\s]+(/0?)?)(\?\S*)?",
    re.IGNORECASE,
)


def check_redis_url(url: str) -> str:
    accepted = (
        "redis://HOST:PORT/DB, rediss://HOST:PORT/DB, unix:///PATH, "
        "redis+sentinel://HOST:PORT,HOST:PORT/NAME or redis+cluster://HOST:PORT,HOST:PORT"
    )
    if _REDIS_NODES_URL.fullmatch(url) is not None:
        return url
    parts = _split_url(url, accepted)
    if parts.scheme == "unix":
        _demand(bool(parts.path), accepted)
        return url
    _demand(parts.scheme in ("redis", "rediss") and bool(parts.hostname), accepted)
    _demand(re.fullmatch(r"/?[0-9]*/?", parts.path) is not None, accepted)
    return url


def check_mongodb_url(url: str) -> str:
    accepted = "mongodb://HOST:PORT/DATABASE or mongodb+srv://HOST/DATABASE"
    _demand(_MONGODB_URL.fullmatch(url) is not None, accepted)
    return url


def check_service_url(url: str) -> str:
    accepted = "http://HOST:PORT or https://HOST:PORT"
    parts = _split_url(url, accepted)
    _demand(parts.scheme in ("http", "https") and bool(parts.hostname), accepted)
    return url.rstrip("/")


def check_queue_name(name: str) -> str:
    _demand(_QUEUE_NAME.fullmatch(name) is not None, "at most 100 characters, no ':' and no spaces")
    return name


def check_queue_prefix(prefix: str) -> str:
    _demand(_KEY_PART.fullmatch(prefix) is not None, "at most 100 characters, no spaces")
    return prefix


def check_module(name: str) -> str:
    _demand(_MODULE.fullmatch(name) is not None, "names of Python modules, as myapp.jobs")
    return name


def check_api_key(key: str) -> str:
    _demand(_HEADER_TOKEN.fullmatch(key) is not None, "printable ASCII without spaces")
    return key


def check_rate_limit(limit: str) -> str:
    compact = limit.replace(" ", "").lower()
    accepted = "COUNT/second, COUNT/minute, COUNT/hour or COUNT/day, as 60/minute"
    _demand(_RATE_LIMIT.fullmatch(compact) is not None, accepted)
    return compact


def check_host(host: str) -> str:
    bare = host.removeprefix("[").removesuffix("]")
    _demand(_HOST.fullmatch(bare) is not None, "an IP address or a host name")
    return bare


def check_allowed_host(name: str) -> str:
    """Return a host in lower case, an IPv6 address in brackets."""
    lowered = name.lower()
    if lowered == ANY_HOST or _DOMAIN.fullmatch(lowered):
        return lowered
    is_in_brackets = lowered.startswith("[") and lowered.endswith("]")
    try:
        return f"[{ipaddress.IPv6Address(lowered[1:-1] if is_in_brackets else lowered)}]"
    except ValueError as exc:
        raise ValueError(
            "a host name or IP address without scheme and port, or *.example.com "
            "for all names under example.com"
        ) from exc


def check_root_path(path: str) -> str:
    """Return a path without a slash at its end; ``/`` alone is no root path: empty."""
    stripped = path.rstrip("/")
    _demand(
        not stripped or _ROOT_PATH.fullmatch(stripped) is not None,
        "a path as /feedmill: letters, digits, '-', '_', '.' and '~' between slashes",
    )
    first = stripped.split("/")[1] if stripped else ""
    _demand(first not in OWN_PATHS, f"another path than the API's own /{first}, as /feedmill")
    return stripped


def check_proxy(proxy: str) -> str:
    """Return an IP address or network as it is compared; a network has no host bits."""
    if proxy == ANY_HOST:
        return proxy
    try:
        return str(ipaddress.ip_network(proxy) if "/" in proxy else ipaddress.ip_address(proxy))
    except ValueError as exc:
        raise ValueError(
            "IP addresses and networks, as 10.0.0.5 or 10.0.0.0/8, or * for every client"
        ) from exc


def describe_error(error: ErrorDetails, fields: Mapping[str, FieldInfo]) -> str:
    """Return one line about a wrong value: ``NAME=value: must be …``; secrets are masked.

    An error of several variables together already names them and is returned as it is.
    """
    if not error["loc"]:
        return str(error["ctx"]["error"])
    field_name = str(error["loc"][0])
    name = field_name.upper()
    accepted = (
        str(error["ctx"]["error"])
        if error["type"] == "value_error"
        else describe_accepted(field_name, fields[field_name])
    )
    return f"{name}={_shown(name, str(error['input']))}: must be {accepted}"


def is_secret(name: str) -> bool:
    """Return whether a variable's value is to be shown to nobody."""
    return name in _SECRETS


def unit_of(field_name: str) -> str | None:
    """Return the unit of a setting, None where it has none."""
    return _UNITS.get(field_name.rsplit("_", 1)[-1])


def show_setting(name: str, value: Any) -> str | int | float | bool | None:
    """Return a value as people may see it: ``set`` for a secret, URLs without logins."""
    if value in (None, (), ""):
        return None
    if is_secret(name):
        return "set"
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool | int | float):
        return value
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return _mask_url(text) if name.endswith("_URL") else text


def _mask_url(value: str) -> str:
    # A password may hold anything, also what ends one in a proper URL.
    return mask_secrets(re.sub(r"^([a-z+]*://)?.*@", rf"\1{MASK}@", value, flags=re.S | re.I))


def _shown(name: str, value: str) -> str:
    if is_secret(name):
        return MASK
    if name.endswith("_URL"):
        value = _mask_url(value)
    return "".join(c if c.isprintable() else "?" for c in value)[:MAX_SHOWN_CHARACTERS]


def describe_accepted(field_name: str, field: FieldInfo) -> str:
    """Return in words which values a setting takes, as far as its type says so."""
    annotation = _plain_type(field.annotation)
    if get_origin(annotation) is Literal:
        words = [str(word) for word in get_args(annotation)]
        return f"{', '.join(words[:-1])} or {words[-1]}"
    if annotation is bool:
        return "true or false"
    if annotation in (int, float):
        return _describe_range(
            field_name, "a number" if annotation is float else "a whole number", field
        )
    return "text"


def _describe_range(field_name: str, kind: str, field: FieldInfo) -> str:
    low = next((m.ge for m in field.metadata if hasattr(m, "ge")), None)
    high = next((m.le for m in field.metadata if hasattr(m, "le")), None)
    unit = unit_of(field_name)
    return f"{kind} from {low} to {high}" + (f" ({unit})" if unit else "")


def _plain_type(annotation: Any) -> Any:
    while get_origin(annotation) in (Annotated, Union, UnionType):
        annotation = next(a for a in get_args(annotation) if a is not NoneType)
    return annotation


def _split_url(url: str, accepted: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises when it is not a port
    except ValueError as exc:
        raise ValueError(accepted) from exc
    return parts


def _demand(fits: bool, accepted: str) -> None:
    if not fits:
        raise ValueError(accepted)
