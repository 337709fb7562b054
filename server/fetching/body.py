"""Read an answer's body within limits: on the wire, decoded, and in the ratio of both."""

import httpx2

from shared.errors import FetchError

# Feeds shrink tenfold or so; repetitive ones a hundredfold. Beyond is a bomb, once it is large.
MAX_RATIO = 500
RATIO_MATTERS_FROM_BYTES = 8 * 1024 * 1024
_KNOWN_CODINGS = frozenset({"", "identity", "gzip", "deflate"})


def read_body(response: httpx2.Response, max_bytes: int) -> bytes:
    """Return the decoded body; reading stops at the first byte too many.

    Raises:
        FetchError: ``too_large``; ``encoding`` for a coding that was not asked for.
    """
    _check_coding(response.headers.get("content-encoding", ""))
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > max_bytes:
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    size = 0
    for chunk in response.iter_bytes():
        chunks.append(chunk)
        size += len(chunk)
        _check_sizes(size, response.num_bytes_downloaded, max_bytes)
    return b"".join(chunks)


def _check_coding(codings: str) -> None:
    unknown = {coding.strip().lower() for coding in codings.split(",")} - _KNOWN_CODINGS
    if unknown:
        raise FetchError("", "encoding", f"the body is encoded as {sorted(unknown)[0][:40]!r}")


def _check_sizes(size: int, wire_size: int, max_bytes: int) -> None:
    if size > max_bytes or wire_size > max_bytes:
        raise _too_large(max_bytes)
    if size > RATIO_MATTERS_FROM_BYTES and size > wire_size * MAX_RATIO:
        raise FetchError("", "too_large", f"the body swells more than {MAX_RATIO} times")


def _too_large(max_bytes: int) -> FetchError:
    return FetchError("", "too_large", f"the body is larger than {max_bytes} bytes")
