"""Read an answer's body within limits: on the wire, decoded, and in the ratio of both.

Decoding is done here and not by the HTTP library: after the end of a compressed stream zlib would
keep all that follows, and copy it anew with every piece.
"""

import io
import zlib
from collections.abc import Iterator

import httpx2

from shared.errors import FetchError

# Feeds shrink tenfold or so; repetitive ones a hundredfold. Beyond is a bomb, once it is large.
MAX_RATIO = 200
RATIO_MATTERS_FROM_BYTES = 8 * 1024 * 1024
MAX_CODINGS = 2
_PIECE_BYTES = 256 * 1024
_UNCODED = frozenset({"", "identity"})
_CODED = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP_WINDOW = zlib.MAX_WBITS | 16


def read_body(response: httpx2.Response, max_bytes: int) -> bytes:
    """Return the decoded body; reading stops at the first byte too many.

    Raises:
        FetchError: ``too_large``; ``encoding`` for a coding that was not asked for, more than two,
            or a body that is not coded as it says.
    """
    codings = _read_codings(response.headers.get("content-encoding", ""))
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > max_bytes:
        raise _too_large(max_bytes)
    pieces = _read_wire(response, max_bytes)
    for coding in reversed(codings):
        pieces = _inflate(pieces, coding)
    # Not a list: a body that comes in millions of pieces would cost many times its size.
    body = io.BytesIO()
    for piece in pieces:
        body.write(piece)
        _check_size(body.tell(), response.num_bytes_downloaded, max_bytes)
    return body.getvalue()


def _read_codings(written: str) -> list[str]:
    names = [name.strip().lower() for name in written.split(",")]
    codings = [name for name in names if name not in _UNCODED]
    unknown = [name for name in codings if name not in _CODED]
    if unknown:
        raise FetchError("", "encoding", f"the body is encoded as {unknown[0][:40]!r}")
    if len(codings) > MAX_CODINGS:
        raise FetchError("", "encoding", f"the body is encoded more than {MAX_CODINGS} times")
    return codings


def _read_wire(response: httpx2.Response, max_bytes: int) -> Iterator[bytes]:
    """Yield what comes over the wire. Limited here too, for it may decode to nothing at all."""
    for piece in response.iter_raw():
        if response.num_bytes_downloaded > max_bytes:
            raise _too_large(max_bytes)
        yield piece


def _inflate(pieces: Iterator[bytes], coding: str) -> Iterator[bytes]:
    """Yield decoded pieces of bounded size. What follows the end of the stream is left out."""
    inflater = None
    for piece in filter(None, pieces):
        if inflater is None:
            inflater = zlib.decompressobj(_choose_window(piece, coding))
        left = piece
        while left and not inflater.eof:
            try:
                yield inflater.decompress(left, _PIECE_BYTES)
            except zlib.error as exc:
                reason = f"the body cannot be decoded as {coding}: {exc}"
                raise FetchError("", "encoding", reason) from exc
            left = inflater.unconsumed_tail


def _choose_window(first_piece: bytes, coding: str) -> int:
    if coding != "deflate":
        return _GZIP_WINDOW
    # By the book it has zlib's header (RFC 1950, 2.2); some servers leave that out.
    is_method = first_piece[0] & 0x0F == zlib.DEFLATED
    is_checked = len(first_piece) < 2 or int.from_bytes(first_piece[:2]) % 31 == 0
    return zlib.MAX_WBITS if is_method and is_checked else -zlib.MAX_WBITS


def _check_size(size: int, wire_size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise _too_large(max_bytes)
    if size > RATIO_MATTERS_FROM_BYTES and size > wire_size * MAX_RATIO:
        raise FetchError("", "too_large", f"the body swells more than {MAX_RATIO} times")


def _too_large(max_bytes: int) -> FetchError:
    return FetchError("", "too_large", f"the body is larger than {max_bytes} bytes")
