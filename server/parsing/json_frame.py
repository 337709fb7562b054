"""The frame of a JSON Feed: whether a document is one, its version, its list of items."""

from dataclasses import dataclass
from typing import Any

from server.parsing.json_repair import JsonDocument
from server.parsing.json_values import Faults, is_number
from shared.errors import ParseError

_ADDRESS = "jsonfeed.org/version/"
_VERSIONS = frozenset({"1", "1.0", "1.1"})
# What only an item of a JSON Feed has, where the version says nothing; and what an item may have.
_TELLING = frozenset({"content_html", "content_text", "date_published", "date_modified"})
_USUAL = _TELLING | {"title", "url", "external_url", "summary", "attachments", "tags"}
# Where APIs say what went wrong.
_ERROR_NAMES = ("error", "errors", "error_description", "message", "detail", "msg")
_LONGEST_ERROR = 200


@dataclass(frozen=True, slots=True)
class JsonFrame:
    """A document that was recognised as a JSON Feed; ``members`` are all of its object."""

    members: dict[str, Any]
    version: str
    items: list[Any]


def read_frame(document: JsonDocument, faults: Faults) -> JsonFrame:
    """Return the frame of a feed.

    The version may be the bare number, or missing where an item shows what it is.

    Raises:
        ParseError: ``json_error`` (an error in JSON, or no JSON), ``not_a_feed`` (other JSON),
            ``damaged`` with no whole item in it.
    """
    feed = document.value
    is_feed = isinstance(feed, dict) and _is_feed(feed)
    if is_feed and not document.is_complete and not feed.get("items"):
        raise ParseError(
            "damaged", f"the document breaks off before its first item ends: {document.damage}"
        )
    if is_feed and (isinstance(feed.get("items"), list) or _is_filled_object(feed.get("items"))):
        written = str(feed.get("version") or "")
        if _ADDRESS not in written.lower():
            faults.note(f"'version' is {feed.get('version')!r}, not the address of JSON Feed's")
        version = written.rstrip("/").rpartition("/")[2]
        return JsonFrame(feed, version, _list_items(feed["items"], faults))
    raise _refusal(document, is_feed=is_feed)


def _refusal(document: JsonDocument, *, is_feed: bool) -> ParseError:
    if document.damage and not document.is_complete:
        return ParseError("json_error", f"not valid JSON: {document.damage}")
    reason = _error_answer(document.value)
    if reason:
        return ParseError("json_error", f"an error in JSON instead of a feed: {reason}")
    what = "a JSON Feed without a list of items" if is_feed else "JSON, but not a JSON Feed"
    return ParseError("not_a_feed", f"the document is {what}")


def _is_feed(feed: dict[str, Any]) -> bool:
    version, items = feed.get("version"), feed.get("items")
    if _ADDRESS in str(version).lower():
        return True
    if isinstance(items, dict):
        items = [items] if _TELLING & items.keys() else list(items.values())
    entries = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    is_bare = str(version).strip() in _VERSIONS and (isinstance(version, str) or is_number(version))
    needed = _USUAL if is_bare else _TELLING
    return any(needed & entry.keys() for entry in entries)


def _is_filled_object(value: object) -> bool:
    return isinstance(value, dict) and bool(value)


def _list_items(items: list[Any] | dict[str, Any], faults: Faults) -> list[Any]:
    """Return the items of a list, of an object that numbers them, or one item alone."""
    if isinstance(items, list):
        return items
    faults.add("items", items, "a list")
    is_item = bool({"id", *_USUAL} & items.keys())
    return [items] if is_item else [item for item in items.values() if isinstance(item, dict)]


def _error_answer(value: object) -> str:
    """Return what an error answer of an API says, shortened; nothing for other JSON."""
    if not isinstance(value, dict):
        return ""
    reason = next((value[name] for name in _ERROR_NAMES if value.get(name)), "")
    if isinstance(reason, list):
        reason = reason[0]
    if isinstance(reason, dict):
        reason = next((reason[name] for name in _ERROR_NAMES if reason.get(name)), reason)
    return str(reason)[:_LONGEST_ERROR]
