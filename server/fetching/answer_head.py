"""Corrects the head of an HTTP/1.1 answer before the strict reader sees it. Pure.

One malformed header line costs that line, and a status line in a foreign spelling is read as what
it means. Nothing here makes an answer longer or joins two: a head that was corrected ends its
connection, lengths that contradict one another are left for the reader to refuse, and of a length
beside chunks only the chunks count (RFC 9112, 6.3).
"""

import re
from dataclasses import dataclass

# A longer head is passed on as it is; the reader behind refuses it.
MAX_HEAD_BYTES = 64 * 1024

_HEAD_END = re.compile(rb"\n\r?\n")
_STATUS = re.compile(rb"HTTP/[0-9]\.[0-9] [0-9]{3}(?: [\t -~\x80-\xff]*)?")
# What the word before the number is, "ICY" or "HTTP" or "http/1.1", makes no difference.
_ODD_STATUS = re.compile(rb"[A-Za-z]{2,10}(?:/[0-9](?:\.[0-9])?)?[ \t]+([0-9]{3})(?![0-9])")
_HEADER = re.compile(rb"([-!#$%&'*+.^_`|~0-9a-zA-Z]+)[ \t]*:[ \t]*([^\x00\x0a-\x0d]*)")
_LENGTH = re.compile(rb"[0-9]{1,18}(?:[ \t]*,[ \t]*[0-9]{1,18})*")
_BODILESS = frozenset({204, 304})
_CLOSE = b"Connection: close"


@dataclass(frozen=True, slots=True)
class Head:
    """A head as the strict reader takes it, and what it says of what follows.

    ``length`` is the number of bytes that belong to the answer, None where its end is marked
    otherwise. ``is_final``: no other head follows it, as one follows ``100 Continue``.
    """

    written: bytes
    length: int | None
    is_final: bool


def find_head_end(received: bytes | bytearray, start: int) -> int | None:
    """Return where a head ends, looking from ``start`` on; None while it is not all there."""
    found = _HEAD_END.search(received, max(0, start - 2))
    return found.end() if found is not None else None


def fix_head(received: bytes) -> Head:
    """Return a head, all of it with its blank line, as the strict reader takes it."""
    lines = _unfold(received.strip(b"\r\n").split(b"\n"))
    status_line, status = _fix_status(lines[0] if lines else b"")
    if status is None:
        # No answer of HTTP at all: the reader says so.
        return Head(received, None, is_final=True)
    kept = [_fix_header(line) for line in lines[1:]]
    headers = _choose_framing([line for line in kept if line is not None])
    if status_line != lines[0] or headers != lines[1:]:
        headers.append(_CLOSE)
    written = b"\r\n".join([status_line, *headers, b"", b""])
    return Head(written, _length(status, headers), is_final=status >= 200)


def _unfold(raw_lines: list[bytes]) -> list[bytes]:
    """Return lines with their continuations; one that continues the status line is left out."""
    lines: list[bytearray] = []
    for raw in raw_lines:
        line = raw.removesuffix(b"\r")
        if line[:1] not in (b" ", b"\t") or not lines:
            lines.append(bytearray(line.strip() if not lines else line))
        elif len(lines) > 1:
            lines[-1] += b" " + line.strip()
    return [bytes(line) for line in lines]


def _fix_status(line: bytes) -> tuple[bytes, int | None]:
    if _STATUS.fullmatch(line):
        return line, int(line[9:12])
    odd = _ODD_STATUS.match(line)
    if odd is None:
        return line, None
    # Of an answer in a foreign spelling nothing newer than HTTP/1.0 is expected.
    version = b"HTTP/1.1" if b"/1.1" in line[:16] else b"HTTP/1.0"
    return version + b" " + odd[1], int(odd[1])


def _fix_header(line: bytes) -> bytes | None:
    """Return a header line, without the blanks before its colon; None for what is none."""
    found = _HEADER.fullmatch(line)
    if found is None:
        return None
    name, value = found[1], found[2].rstrip(b" \t")
    lowered = name.lower()
    is_no_length = lowered == b"content-length" and not _LENGTH.fullmatch(value)
    is_no_coding = lowered == b"transfer-encoding" and value.lower() in (b"", b"identity")
    if is_no_length or is_no_coding:
        return None
    # As it was, wherever it was right: what is returned differs only from a line that was not.
    return line if line[len(name) : len(name) + 1] == b":" else name + b": " + value


def _choose_framing(headers: list[bytes]) -> list[bytes]:
    if not any(line.lower().startswith(b"transfer-encoding:") for line in headers):
        return headers
    return [line for line in headers if not line.lower().startswith(b"content-length:")]


def _length(status: int, headers: list[bytes]) -> int | None:
    if status in _BODILESS:
        return 0
    lengths = {
        int(number)
        for line in headers
        if line.lower().startswith(b"content-length:")
        for number in line.partition(b":")[2].split(b",")
    }
    return lengths.pop() if len(lengths) == 1 and status >= 200 else None
