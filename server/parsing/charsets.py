"""Which codec of Python's reads the text of a charset's name, as far as it can be trusted.

The names are those of the WHATWG Encoding Standard, beside those that Python knows. East Asian
publishers name the old charset and write characters of its vendors' extensions, as browsers read
them: those are read one by one, so that one of them changes nothing around it.
"""

import codecs
from functools import lru_cache

# Supersets that publishers mean when they name the smaller one.
_MEANT = {
    "iso8859-1": "windows-1252",
    "ascii": "windows-1252",
    "cp1252": "windows-1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "utf-8-sig": "utf-8",
}
# Text encodings in name only, or ways to smuggle `<` past a reader.
_REFUSED = frozenset(
    {"utf-7", "idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"}
)
# The standard's labels that Python does not know. Those of UTF-16 are left out: it is known by its
# bytes.
_LABELS = {
    label: codec
    for codec, labels in {
        "utf-8": "unicode-1-1-utf-8 unicode11utf8 unicode20utf8 x-unicode20utf8",
        "iso8859-2": "iso88592",
        "iso8859-3": "iso88593",
        "iso8859-4": "iso88594",
        "iso8859-5": "iso88595",
        "iso8859-6": "csiso88596e csiso88596i iso-8859-6-e iso-8859-6-i iso88596",
        "iso8859-7": "iso88597 sun_eu_greek",
        "iso8859-8": "csiso88598e csiso88598i iso-8859-8-e iso-8859-8-i iso88598 logical visual",
        "iso8859-10": "iso885910",
        "iso8859-13": "iso885913",
        "iso8859-14": "iso885914",
        "iso8859-15": "csisolatin9 iso885915",
        "koi8-r": "koi koi8",
        "koi8-u": "koi8-ru",
        "mac-roman": "csmacintosh mac x-mac-roman",
        "mac-cyrillic": "x-mac-cyrillic x-mac-ukrainian",
        "cp874": "dos-874 iso885911 windows-874",
        "cp1250": "x-cp1250",
        "cp1251": "x-cp1251",
        "windows-1252": "iso88591 x-cp1252",
        "cp1253": "x-cp1253",
        "cp1254": "iso88599 x-cp1254",
        "cp1255": "x-cp1255",
        "cp1256": "x-cp1256",
        "cp1257": "x-cp1257",
        "cp1258": "x-cp1258",
        "gb18030": "csgb2312 gb_2312 gb_2312-80 x-gbk",
        "big5": "cn-big5 x-x-big5",
        "euc_jp": "cseucpkdfmtjapanese x-euc-jp",
        "cp932": "windows-31j x-sjis",
        "cp949": "cseuckr csksc56011987 iso-ir-149 ks_c_5601-1989 ksc_5601 windows-949",
    }.items()
    for label in labels.split()
}
# What reads the characters that a codec of Python's lacks, the best first. It is not read alone,
# because the two have different characters for some codes, as for Japan's wave dash.
_WIDER = {
    "shift_jis": ("cp932",),
    "euc_kr": ("cp949",),
    "big5": ("big5hkscs", "cp950"),
    "euc_jp": ("euc_jis_2004",),
}
# What `bytes.decode` is to do with bytes that a codec found here lacks: read them wider, else raise
# or put U+FFFD in their place.
WIDER = "feedmill.wider"
WIDER_OR_REPLACED = "feedmill.wider_or_replaced"


def find_codec(name: str) -> str | None:
    """Return the codec to read a charset with; None for what is unknown or no text."""
    try:
        codec = codecs.lookup(_LABELS.get(name.strip().lower(), name)).name
        # Codecs like rot13 and zlib are found as well, and refuse to give text.
        "a".encode(codec)
    except (LookupError, ValueError):
        return None
    return None if codec in _REFUSED else _MEANT.get(codec, codec)


def _read_wider(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    text, end = _read_pair(error)
    if text is None:
        raise error
    return text, end


def _read_wider_or_replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    # Nothing is raised for a wrong byte: decoders raise one exception again and again, and its
    # traceback would grow with each.
    text, end = _read_pair(error)
    return ("\ufffd", error.end) if text is None else (text, end)


def _read_pair(error: UnicodeDecodeError) -> tuple[str | None, int]:
    """Return the character at an error, None where it is none, and where it ends."""
    pair = error.object[error.start : error.start + 2]
    return _decode_pair(error.encoding, pair), error.start + len(pair)


# A document may hold millions of them, and few different ones.
@lru_cache(maxsize=1 << 14)
def _decode_pair(codec: str, pair: bytes) -> str | None:
    """Return the character of two bytes that a codec cannot read; None where it is none."""
    for wider in _WIDER.get(codec, ()):
        # A single byte that only some vendor gave a meaning is a wrong one.
        if _decode_or_none(pair[:1], wider) is None:
            text = _decode_or_none(pair, wider)
            if text is not None:
                return text
    return None


def _decode_or_none(some: bytes, codec: str) -> str | None:
    try:
        return some.decode(codec)
    except UnicodeDecodeError:
        return None


codecs.register_error(WIDER, _read_wider)
codecs.register_error(WIDER_OR_REPLACED, _read_wider_or_replace)
