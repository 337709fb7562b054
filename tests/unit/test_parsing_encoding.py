import codecs
from datetime import UTC, datetime

import pytest

from server.parsing import parse_feed
from server.parsing.detection import decode_document

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


ELLIPSES = {
    "title": "&#133; t&#133;", "summary": "<b>s</b>&#133;", "author": "a&#133;",
    "content": "c&#133;",
}  # fmt: skip


@pytest.mark.parametrize("name", ELLIPSES)
def test_a_control_code_at_either_end_of_a_text_is_a_character_and_no_blank(name: str) -> None:
    element = "content:encoded" if name == "content" else name
    body = f"<rss><channel><item><{element}> {ELLIPSES[name]}\n</{element}></item></channel></rss>"
    feed = parse_feed(body.encode(), content_type=None, url=None, now=NOW)
    expected = ELLIPSES[name].replace("&#133;", "…")
    assert getattr(feed.entries[0].item, name) == expected


def test_a_control_code_at_the_end_stays_in_categories_and_what_else_is_told() -> None:
    body = (
        "<rss><channel><item><category>a&#133;</category><x y='b&#133;'>c&#133;</x>"
        "</item></channel></rss>"
    )
    item = parse_feed(body.encode(), content_type=None, url=None, now=NOW).entries[0].item
    assert item.categories == ("a…",)
    assert [(field.value, dict(field.attributes)) for field in item.extra] == [("c…", {"y": "b…"})]


def test_a_control_code_at_the_end_is_a_slip_in_a_guid_and_in_a_link() -> None:
    body = "<rss><channel><item><guid>1&#133;</guid><link>http://a/1&#133;</link></item></channel></rss>"
    entry = parse_feed(body.encode(), content_type=None, url=None, now=NOW).entries[0]
    assert (entry.written_guid, entry.written_link) == ("1", "http://a/1")


def test_an_ellipsis_at_the_end_is_read_in_a_national_code_page_too() -> None:
    assert title_of(document("ığş…", "cp1254", declared="iso-8859-9")) == "ığş…"


def test_a_guess_is_warned_of_and_a_sound_document_is_not() -> None:
    assert decode_document(b"<rss/>", "text/xml; charset=utf-8")[1] is None
    assert decode_document(b"<rss>\xe9</rss>", None)[1] is not None


@pytest.mark.parametrize(
    "charset",
    [
        "ISO-8859-1", "us-ascii", "windows-1252", "iso-8859-2", "iso-8859-15", "koi8-r",
        "mac-roman", "cp437", "windows-1251", "gb2312", "big5", "shift_jis", "euc-jp", "utf-16",
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["header", "declaration", "both"])
def test_what_is_utf_8_is_read_so_whatever_is_declared_and_warned_of(
    charset: str, where: str
) -> None:
    title = "Müller – „Straße“ 😀 日本語"
    body = document(title, "utf-8", declared=charset if where != "header" else "utf-8")
    content_type = f"text/xml; charset={charset}" if where != "declaration" else None
    feed = parse_feed(body, content_type=content_type, url=None, now=NOW)
    assert feed.entries[0].item.title == title
    assert feed.warnings == (f"encoding is utf-8, not {charset}",)


@pytest.mark.parametrize("charset", ["ISO-8859-1", "us-ascii", "windows-1252", "koi8-r"])
def test_json_is_utf_8_whatever_the_header_says(charset: str) -> None:
    body = '{"version": "https://jsonfeed.org/version/1.1", "items": [{"title": "Café"}]}'
    assert title_of(body.encode(), f"application/json; charset={charset}") == "Café"
    assert title_of(body.encode("latin-1"), "application/json; charset=iso-8859-1") == "Café"
    assert title_of(body.encode("utf-16-le"), "application/json") == "Café"


@pytest.mark.parametrize(
    ("title", "encoding", "declared"),
    [
        ("Müller Straße", "latin-1", "iso-8859-1"),
        ("Müller Straße", "latin-1", "utf-8"),
        ("é", "cp1252", "windows-1252"),
        ("Ça c’est déjà vu à Nîmes", "cp1252", "iso-8859-1"),
        ("Привет, мир", "koi8-r", "koi8-r"),
        ("Привет, мир", "cp1251", "windows-1251"),
        ("naïve", "mac-roman", "macintosh"),
        ("日本語の題名", "iso2022_jp", "iso-2022-jp"),
        ("日本語の題名", "euc-jp", "euc-jp"),
        ("日本語の題名", "shift_jis", "shift_jis"),
        ("中文标题", "gb2312", "gb2312"),
        ("中文标题", "hz", "hz-gb-2312"),
        ("中文標題", "big5", "big5"),
        ("한국어 제목", "euc-kr", "euc-kr"),
        ("한국어 제목", "iso2022_kr", "iso-2022-kr"),
        ("Müller 日本", "utf-16", "utf-16"),
        ("Müller 日本", "utf-16-be", "utf-16"),
    ],
)
def test_what_is_no_utf_8_is_still_read_as_declared(
    title: str, encoding: str, declared: str
) -> None:
    assert title_of(document(title, encoding, declared=declared)) == title
    assert title_of(document(title, encoding), f"text/xml; charset={declared}") == title


VENDORS = [
    ("㈱東京①～髙橋", "cp932", ["windows-31j", "x-sjis", "ms932"]),
    ("㈱東京①髙橋", "cp932", ["Shift_JIS", "sjis", "csShiftJIS"]),
    ("東京①㈱", "euc_jis_2004", ["euc-jp", "x-euc-jp", "csEUCPkdFmtJapanese"]),
    ("한국 뷁 펲시", "cp949", ["euc-kr", "ks_c_5601-1987", "korean", "windows-949", "ksc_5601"]),
    ("香港喺度嘅啲", "big5hkscs", ["Big5", "big5-hkscs", "cn-big5", "x-x-big5"]),
    ("香港碁銹裏", "cp950", ["Big5", "cn-big5"]),
    ("中文镕", "gbk", ["gb2312", "gbk", "x-gbk", "gb_2312-80", "csGB2312"]),
    ("สวัสดี “x”…", "cp874", ["windows-874", "dos-874", "tis-620", "iso-8859-11"]),
    ("שלום", "iso8859-8", ["iso-8859-8-i", "logical", "visual"]),
    ("Привет", "cp1251", ["x-cp1251"]),
    ("Привет", "koi8-r", ["koi8", "koi"]),
    ("Привет", "mac-cyrillic", ["x-mac-cyrillic"]),
    ("café “x”", "mac-roman", ["mac", "x-mac-roman", "csMacintosh"]),
    ("café “x” €", "cp1252", ["x-cp1252", "iso88591"]),
]


@pytest.mark.parametrize(("title", "encoding", "names"), VENDORS)
def test_old_charsets_are_read_as_browsers_read_them(
    title: str, encoding: str, names: list[str]
) -> None:
    for name in names:
        body = document(title, encoding, declared=name)
        feed = parse_feed(body, content_type=None, url=None, now=NOW)
        assert (feed.entries[0].item.title, feed.warnings) == (title, ())
        assert title_of(document(title, encoding), f"text/xml; charset={name}") == title


@pytest.mark.parametrize(
    ("codec", "vendors", "encoding"),
    [
        ("shift_jis", "①", "cp932"),
        ("euc_kr", "뷁", "cp949"),
        ("big5", "喺", "big5hkscs"),
        ("euc_jp", "①", "euc_jis_2004"),
    ],
)
def test_a_vendors_character_changes_no_other(codec: str, vendors: str, encoding: str) -> None:
    codes = [bytes([lead, trail]) for lead in range(0x81, 0xFF) for trail in range(0x40, 0xFF)]
    known = b"".join(code for code in codes if "\ufffd" not in code.decode(codec, "replace"))
    body = b"<a>" + known + vendors.encode(encoding)
    text, warning = decode_document(body, f"text/xml; charset={codec}")
    assert (text, warning) == (f"<a>{known.decode(codec)}{vendors}", None)


def test_a_wrong_byte_among_a_vendors_characters_is_replaced_alone() -> None:
    body = b"<a>" + ("①東京" * 40).encode("cp932") + b"\xff<b>"
    text, warning = decode_document(body, "text/xml; charset=shift_jis")
    assert text == "<a>" + "①東京" * 40 + "\ufffd<b>"
    assert warning == "bytes that are not shift_jis were replaced"


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", "windows-1252", "koi8-r"])
def test_a_few_wrong_bytes_among_many_sound_characters_leave_it_utf_8(charset: str) -> None:
    title = "Größe für Übermüdete: „Straße“, déjà vu"
    body = document(title + "~", "utf-8", declared=charset).replace(b"~", b"\x93")
    feed = parse_feed(body, content_type=None, url=None, now=NOW)
    assert feed.entries[0].item.title == title + "“"
    assert "windows-1252" in feed.warnings[0]


def test_a_name_for_the_same_encoding_is_not_warned_of() -> None:
    for name in ("utf8", "UTF-8", "Utf_8", "utf-8-sig"):
        assert decode_document("<a>é</a>".encode(), f"text/xml; charset={name}")[1] is None
