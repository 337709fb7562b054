"""Start tags with faults in their attributes: read with goodwill, and written as XML wants them."""

import re

# A quoted value may hold a `<`, which XML forbids, if it is short and the quote ends it properly.
_QUOTED = (
    r"\"[^\"<]*+\"|'[^'<]*+'"
    r"|\"[^\"]{0,500}\"(?=[\s/>]|\Z)|'[^']{0,500}'(?=[\s/>]|\Z)"
)
START_TAG = re.compile(
    rf"<(?P<name>[^\W\d][\w.-]*(?::[^\W\d][\w.-]*)?)(?P<rest>(?:[^<>\"']++|{_QUOTED}){{0,200}}+)>"
)
_ATTRIBUTE = re.compile(
    rf"(?P<name>[^\s=<>\"'/]+)(?:\s*=(?:\s*(?P<quoted>{_QUOTED})|(?P<plain>(?:[^\s\"'<>/]|/(?!\Z))*)))?"
)
_NAME = re.compile(r"[^\W\d][\w.-]*(?::[^\W\d][\w.-]*)?")
_BLANKS = re.compile(r"[\t\r\n]")


def is_empty(tag: re.Match[str]) -> bool:
    """Tell whether a start tag is that of an element without content."""
    return tag["rest"].endswith("/")


def read_attributes(tag: re.Match[str]) -> dict[str, str]:
    """Return the attributes as written, references included; of two with one name the first.

    Those without a value have an empty one; names that XML does not know are left out.
    """
    attributes: dict[str, str] = {}
    for attribute in _ATTRIBUTE.finditer(tag["rest"].removesuffix("/")):
        if _NAME.fullmatch(attribute["name"]):
            value = (attribute["quoted"] or "")[1:-1] or attribute["plain"] or ""
            attributes.setdefault(attribute["name"], _clean(value))
    return attributes


def write_start_tag(tag: re.Match[str]) -> str:
    """Return the tag as XML, in one line and with equal meaning."""
    attributes = "".join(f' {name}="{value}"' for name, value in read_attributes(tag).items())
    return f"<{tag['name']}{attributes}{'/' if is_empty(tag) else ''}>"


def _clean(value: str) -> str:
    return _BLANKS.sub(" ", value).replace("<", "&lt;").replace('"', "&quot;")
