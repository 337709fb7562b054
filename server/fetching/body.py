"""Read an answer's body within limits: on the wire, decoded, and in the ratio of both.

Decoding is done here and not by the HTTP library: it goes by what the bytes are, for many servers
compress without saying so, or say so and don't; and after the end of a compressed stream zlib would
keep all that follows, and copy it anew with every piece.
"""

import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import httpcore2
import httpx2

from shared.error_kinds import ErrorKind
from shared.errors import FetchError

# Feeds shrink tenfold or so; repetitive ones a hundredfold. Beyond is a bomb, once it is large.
MAX_RATIO = 200
RATIO_MATTERS_FROM_BYTES = 8 * 1024 * 1024
MAX_CODINGS = 2
# Servers that compress piece by piece make one of each few KiB.
MAX_MEMBERS = 10_000
_PIECE_BYTES = 256 * 1024
_LOOK_BYTES = 16
_UNCODED = frozenset({"", "identity"})
_CODED = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP_WINDOW = zlib.MAX_WBITS | 16
_GZIP_MAGIC = b"\x1f\x8b"
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_CONTROLS = frozenset(range(0x20)) - frozenset(b"\t\n\r")
# A document begins with markup or as JSON.
_FIRST_CHARACTERS = (b"<", b"{", b"[")

CheckSize = Callable[[int], None]


@dataclass(slots=True)
class Body:
    """A body, decoded. ``is_cut``: it ended before its end; ``faults`` say so, and what else."""

    content: bytes = b""
    is_cut: bool = False
    faults: list[str] = field(default_factory=list)


def read_body(response: httpx2.Response, max_bytes: int) -> Body:
    """Return the decoded body; reading stops at the first byte too many.

    A body that breaks off is returned as far as it came, if anything of it did.

    Raises:
        FetchError: ``too_large``; ``encoding`` for a coding that cannot be read, for more than two,
            or a body that is not coded as it says.
    """
    codings = _read_codings(response.headers.get("content-encoding", ""))
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > max_bytes:
        raise _too_large(max_bytes)
    body = Body()
    # Not a list: a body that comes in millions of pieces would cost many times its size.
    content = io.BytesIO()
    for piece in _decode_all(response, codings, max_bytes, body):
        content.write(piece)
    body.content = content.getvalue()
    return body


def read_start(response: httpx2.Response, max_bytes: int) -> bytes:
    """Return the first bytes of a decoded body, about ``max_bytes`` of them; b"" for none."""
    start = b""
    try:
        codings = _read_codings(response.headers.get("content-encoding", ""))
        for piece in _decode_all(response, codings, max_bytes * MAX_RATIO, Body()):
            start += piece
            if len(start) >= max_bytes:
                break
    except (FetchError, httpcore2.TimeoutException, httpcore2.NetworkError):
        return start[:max_bytes]
    return start[:max_bytes]


def _read_codings(written: str) -> list[str]:
    names = [name.strip().lower() for name in written.split(",")]
    codings = [name for name in names if name not in _UNCODED]
    if len(codings) > MAX_CODINGS:
        raise FetchError(
            "", ErrorKind.ENCODING, f"the body is encoded more than {MAX_CODINGS} times"
        )
    return codings


def _decode_all(
    response: httpx2.Response, codings: list[str], max_bytes: int, body: Body
) -> Iterator[bytes]:
    """Yield decoded pieces; what is noticed on the way is noted in ``body``."""

    def check_size(size: int) -> None:
        _check_size(size, response.num_bytes_downloaded, max_bytes)

    pieces = _read_wire(response, max_bytes, body)
    # Undone in reverse; and a layer more may be there than is said.
    said = [*reversed(codings), *[""] * (MAX_CODINGS - len(codings))]
    for coding in said:
        pieces = _decode(pieces, coding, check_size, body)
    return pieces


def _read_wire(response: httpx2.Response, max_bytes: int, body: Body) -> Iterator[bytes]:
    """Yield what comes over the wire. Limited here too, for it may decode to nothing at all."""
    try:
        for piece in response.iter_raw():
            if response.num_bytes_downloaded > max_bytes:
                raise _too_large(max_bytes)
            yield piece
    except (httpcore2.RemoteProtocolError, httpcore2.ReadError):
        # Fewer bytes than announced, or no last chunk: the document itself tells if it is whole.
        if not response.num_bytes_downloaded:
            raise
        body.is_cut = True
        body.faults.append(
            "the connection ended before the end that the answer announces "
            "(its Content-Length is too large, or its last chunk is missing)"
        )


def _decode(
    pieces: Iterator[bytes], coding: str, check_size: CheckSize, body: Body
) -> Iterator[bytes]:
    """Yield pieces with one coding undone, or as they are where their first bytes show none."""
    first, pieces = _look_ahead(pieces)
    window = _choose_window(first, coding)
    if window is None:
        yield from pieces
        return
    size = 0
    for piece in _Inflater(window, coding or "gzip", body).inflate(pieces):
        size += len(piece)
        check_size(size)
        yield piece


def _look_ahead(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return the first bytes, and all pieces again."""
    seen = b""
    for piece in pieces:
        seen += piece
        if len(seen) >= _LOOK_BYTES:
            break
    return seen[:_LOOK_BYTES], _chain(seen, pieces)


def _chain(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _choose_window(first: bytes, coding: str) -> int | None:
    """Return zlib's name of the coding that a body's first bytes show; None where it is plain.

    Raises:
        FetchError: the body is said to be coded, and what it is coded as cannot be read.
    """
    if first.startswith(_GZIP_MAGIC):
        return _GZIP_WINDOW
    if not coding or not first or _is_text(first):
        return None
    if coding not in _CODED:
        raise FetchError("", ErrorKind.ENCODING, f"the body is encoded as {coding[:40]!r}")
    if coding != "deflate":
        raise FetchError(
            "", ErrorKind.ENCODING, f"the body cannot be decoded as {coding}: it is none"
        )
    # By the book it has zlib's header (RFC 1950, 2.2); some servers leave that out.
    is_method = first[0] & 0x0F == zlib.DEFLATED
    is_checked = len(first) < 2 or int.from_bytes(first[:2]) % 31 == 0
    return zlib.MAX_WBITS if is_method and is_checked else -zlib.MAX_WBITS


def _is_text(first: bytes) -> bool:
    if first.startswith(_BYTE_ORDER_MARKS):
        return True
    is_markup = first.lstrip().startswith(_FIRST_CHARACTERS)
    return is_markup and first[: _LOOK_BYTES // 2].isascii() and _CONTROLS.isdisjoint(first)


class _Inflater:
    """Decompresses one stream, or all members of a gzip stream, in pieces of bounded size."""

    def __init__(self, window: int, coding: str, body: Body) -> None:
        self._window = window
        self._coding = coding
        self._body = body
        self._members = 1
        self._inflater = zlib.decompressobj(window)

    def inflate(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Yield what pieces decompress to. What follows the last member is left out."""
        behind = b""
        is_over = False
        for piece in filter(None, pieces):
            left = piece
            while left and not is_over:
                if self._inflater.eof:
                    # One byte does not show yet whether another member begins.
                    behind = (behind + left).lstrip(b"\0")
                    left = b""
                    if len(behind) >= len(_GZIP_MAGIC):
                        is_over = not self._begin_member(behind)
                        left, behind = behind, b""
                else:
                    yield self._inflate(left)
                    left = self._inflater.unconsumed_tail or self._inflater.unused_data
        while not self._inflater.eof and (rest := self._inflate(b"")):
            yield rest
        if not self._inflater.eof:
            self._body.is_cut = True
            self._body.faults.append(f"the body breaks off in the middle of its {self._coding}")

    def _begin_member(self, behind: bytes) -> bool:
        if self._window != _GZIP_WINDOW or not behind.startswith(_GZIP_MAGIC):
            return False
        self._members += 1
        if self._members > MAX_MEMBERS:
            reason = f"the body has more than {MAX_MEMBERS} compressed parts"
            raise FetchError("", ErrorKind.TOO_LARGE, reason)
        self._inflater = zlib.decompressobj(self._window)
        return True

    def _inflate(self, data: bytes) -> bytes:
        try:
            return self._inflater.decompress(data, _PIECE_BYTES)
        except zlib.error as exc:
            reason = f"the body cannot be decoded as {self._coding}: {exc}"
            raise FetchError("", ErrorKind.ENCODING, reason) from exc


def _check_size(size: int, wire_size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise _too_large(max_bytes)
    if size > RATIO_MATTERS_FROM_BYTES and size > wire_size * MAX_RATIO:
        raise FetchError("", ErrorKind.TOO_LARGE, f"the body swells more than {MAX_RATIO} times")


def _too_large(max_bytes: int) -> FetchError:
    return FetchError("", ErrorKind.TOO_LARGE, f"the body is larger than {max_bytes} bytes")
