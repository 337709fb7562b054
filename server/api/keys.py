"""Keys of the API: the full one, read-only ones, and signed tokens that stand for them."""

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from itsdangerous import BadSignature, TimestampSigner

from shared.clock import Clock

READING_METHODS = frozenset({"GET", "HEAD"})
_CONTENT = b"operator"


class Access(Enum):
    """What a key allows: everything, or GET and HEAD alone."""

    FULL = "full"
    READ = "read"

    def allows(self, method: str) -> bool:
        """Return whether a request with this method may be served."""
        return self is Access.FULL or method in READING_METHODS


@dataclass(frozen=True, slots=True)
class Key:
    """A key and what it allows."""

    text: str = field(repr=False)
    access: Access


def make_keys(api_key: str | None, read_keys: Iterable[str]) -> tuple[Key, ...]:
    """Return ``API_KEY`` and ``API_READ_KEYS`` as keys; none at all without the first."""
    if api_key is None:
        return ()
    return (Key(api_key, Access.FULL), *(Key(each, Access.READ) for each in read_keys))


def find_key(keys: Sequence[Key], given: bytes) -> Key | None:
    """Return the key with this text; takes as long for a nearly right one as for any other."""
    matches = [key for key in keys if hmac.compare_digest(given, key.text.encode())]
    return matches[0] if matches else None


class Tokens:
    """Signed texts that stand for a key for a while; nothing is kept on the server.

    Each is signed with what derives from its own key, so that it allows what the key allows, and
    ends when the key is taken away. ``purpose`` keeps those of one use from being taken for those
    of another.
    """

    def __init__(self, keys: Sequence[Key], *, purpose: str, max_age_s: int, clock: Clock) -> None:
        self._signers = [(key, _Signer(key.text, purpose, clock)) for key in keys]
        self.max_age_s = max_age_s

    def make(self, key: Key) -> str:
        """Return a token for one of the keys."""
        signer = next(signer for held, signer in self._signers if held == key)
        return signer.sign(_CONTENT).decode()

    def find_key(self, token: str | bytes) -> Key | None:
        """Return the key that a token stands for; None when it is forged or has expired."""
        for key, signer in self._signers:
            try:
                if signer.unsign(token, max_age=self.max_age_s) == _CONTENT:
                    return key
            except BadSignature:
                continue
        return None


def make_page_tokens(keys: Sequence[Key], clock: Clock) -> Tokens:
    """Return the tokens of the page ``/docs``, which the API takes as bearers beside the keys.

    The API takes no cookie, so that page needs a bearer for "Try it out". It is given, for an hour,
    to the script of whoever has a session, and never the key itself: nobody who reads it off the
    page, or out of a command that was copied from there, keeps it for long.
    """
    return Tokens(keys, purpose="feedmill.api.page", max_age_s=3600, clock=clock)


class _Signer(TimestampSigner):
    """Signs with the time of our clock."""

    def __init__(self, key: str, purpose: str, clock: Clock) -> None:
        super().__init__(key, salt=purpose, key_derivation="hmac", digest_method=hashlib.sha256)
        self._clock = clock

    def get_timestamp(self) -> int:
        return self._clock.now_ms() // 1000
