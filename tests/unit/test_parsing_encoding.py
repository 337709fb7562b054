import codecs
from datetime import UTC, datetime

import pytest

from server.parsing import parse_feed
from server.parsing.decoding import decode_document

NOW = datetime(2026, 11, 3, tzinfo=UTC)


def title_of(body: bytes, content_type: str | None = None) -> str | None:
    feed = parse_feed(body, content_type=content_type, url=None, now=NOW)
    return feed.entries[0].item.title


def document(title: str, encoding: str, *, declared: str | None = None) -> bytes:
    declaration = f"<?xml version='1.0' encoding='{declared}'?>" if declared else ""
    text = f"{declaration}<rss><channel><item><title>{title}</title></item></channel></rss>"
    return text.encode(encoding)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (document("é€ü", "utf-8"), None),
        (document("é€ü", "utf-8"), "text/xml"),
        (document("é€ü", "utf-8", declared="utf-8"), "application/rss+xml; charset=utf-8"),
        (codecs.BOM_UTF8 + document("é€ü", "utf-8"), "text/xml; charset=iso-8859-1"),
        (document("é€ü", "cp1252", declared="windows-1252"), None),
        (document("é€ü", "cp1252", declared="iso-8859-1"), None),
        (document("é€ü", "cp1252", declared="utf-8"), None),
        (document("é€ü", "cp1252"), "text/xml; charset='iso-8859-1'"),
        (document("é€ü", "cp1252", declared="us-ascii"), None),
        (document("é€ü", "utf-8", declared="no-such-charset"), None),
        (document("é€ü", "utf-8"), "text/xml; charset=no-such-charset"),
        (document("é€ü", "utf-16"), None),
        (document("é€ü", "utf-16-le", declared="utf-16"), None),
        (document("é€ü", "utf-16-be"), None),
        (document("é€ü", "utf-32"), None),
        (document("é€ü", "utf-8", declared="utf-16"), None),
        (b"\n\n " + document("é€ü", "utf-8", declared="utf-8"), None),
        (document("é€ü", "iso-8859-15", declared="iso-8859-15"), None),
    ],
)
def test_the_text_is_the_same_in_every_encoding(body: bytes, content_type: str | None) -> None:
    assert title_of(body, content_type) == "é€ü"


def test_http_wins_over_the_declaration() -> None:
    body = document("привет", "koi8-r", declared="windows-1251")
    assert title_of(body, "text/xml; charset=koi8-r") == "привет"


def test_one_wrong_byte_leaves_the_other_characters_alone() -> None:
    body = document("é€ü~", "utf-8").replace(b"~", b"\xe9")
    assert title_of(body) == "é€üé"


def test_one_wrong_byte_in_another_declared_encoding_is_replaced() -> None:
    text = "日本語の題名" * 30
    body = document(text + "~", "euc-jp", declared="euc-jp").replace(b"~", b"\xff")
    assert title_of(body) == text + "\ufffd"


@pytest.mark.parametrize("name", ["rot13", "zlib", "base64", "hex", "idna", "undefined", "a\0b"])
def test_a_codec_that_is_no_text_encoding_is_as_good_as_none(name: str) -> None:
    body = document("é~", "utf-8").replace(b"~", b"\xe9")
    assert title_of(body, f"text/xml; charset={name}") == "éé"


def test_numeric_references_to_control_codes_mean_windows_characters() -> None:
    assert title_of(document("it&#146;s", "utf-8")) == "it\u2019s"


def test_a_guess_is_warned_of_and_a_sound_document_is_not() -> None:
    assert decode_document(b"<rss/>", "text/xml; charset=utf-8")[1] is None
    assert decode_document(b"<rss>\xe9</rss>", None)[1] is not None
