"""Hide secrets in text that people will see: log lines and error messages."""

import re

MASK = "***"

# Up to the last "@" before the path, because people leave the "@" of a password unquoted.
_URL_USERINFO = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/?#]*@", re.IGNORECASE)
_BEARER = re.compile(r"\b(bearer|basic)\s+[a-z0-9._~+/=-]+", re.IGNORECASE)
# Words that make a secret whatever stands before them, and those that do only alone or behind
# certain others: ``mytoken`` and ``auth_key``, but neither ``monkey`` nor ``postcode``.
_SECRET_PAIR = re.compile(
    r"([?&;#](?:"
    r"[^=&;?#\s]*(?:api[_-]?key|token|passw(?:or)?d|secret|signature)"
    r"|(?:[^=&;?#\s]*[_.-])?(?:api|app|access|auth|private|client)?"
    r"(?:key|pwd|pass|sig|auth|credentials?|session|sid|jwt|bearer|hmac|code)"
    r")=)[^&\s#]+",
    re.IGNORECASE,
)


def mask_secrets(text: str) -> str:
    """Return ``text`` without URL user names and passwords, bearer keys and keys in queries."""
    if "://" in text:
        text = _URL_USERINFO.sub(rf"\1{MASK}@", text)
        text = mask_query(text)
    return _BEARER.sub(rf"\1 {MASK}", text)


def mask_query(url: str) -> str:
    """Return a URL, or text with URLs in it, without the values of names that sound secret."""
    return _SECRET_PAIR.sub(rf"\1{MASK}", url)
