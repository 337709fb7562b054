"""Hide secrets in text that people will see: log lines and error messages."""

import re

MASK = "***"

# Up to the last "@" before the path, because people leave the "@" of a password unquoted.
_URL_USERINFO = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/?#]*@", re.IGNORECASE)
_BEARER = re.compile(r"\b(bearer|basic)\s+[a-z0-9._~+/=-]+", re.IGNORECASE)
_QUERY_SECRET = re.compile(
    r"([?&][a-z_-]*(?:api[_-]?key|token|password|passwd|secret|signature)=)[^&\s#]+", re.IGNORECASE
)


def mask_secrets(text: str) -> str:
    """Return ``text`` without URL user names and passwords, bearer keys and keys in queries."""
    if "://" in text:
        text = _URL_USERINFO.sub(rf"\1{MASK}@", text)
        text = _QUERY_SECRET.sub(rf"\1{MASK}", text)
    return _BEARER.sub(rf"\1 {MASK}", text)
