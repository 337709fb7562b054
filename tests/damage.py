"""Damage of the kinds that publishers do to their feeds, put into one item of a sound document."""

import re
from collections.abc import Callable
from random import Random

ITEM = re.compile(r"<((?:[\w.-]+:)?(?:item|entry))(?=[\s>]).*?</\1\s*>", re.DOTALL)
_VERBATIM = re.compile(r"<!--.*?-->|<!\[CDATA\[.*?\]\]>", re.DOTALL)
# A text without markup in it; its start tag, what it says, its end tag.
_TEXT = re.compile(
    r"(<((?:[\w.-]+:)?(?:title|description|summary|content|content:encoded))(?:\s[^<>]*)?(?<!/)>)"
    r"([^<>]*)(</\2\s*>)"
)
_END = re.compile(r"</[\w.:-]+\s*>\s*\Z")


def item_spans(text: str) -> list[tuple[int, int]]:
    """Return where the items of a sound document stand, comments and CDATA left aside."""
    blanked = _VERBATIM.sub(lambda match: " " * len(match[0]), text)
    return [match.span() for match in ITEM.finditer(blanked)]


def _into_text(damage: str) -> Callable[[str, Random], str]:
    def put(item: str, random: Random) -> str:
        texts = list(_TEXT.finditer(item))
        if not texts:
            return _append(f"<summary>quiet{damage}words</summary>")(item, random)
        text = random.choice(texts)
        return item[: text.end(3)] + damage + item[text.end(3) :]

    return put


def _append(element: str) -> Callable[[str, Random], str]:
    def put(item: str, _random: Random) -> str:
        end = _END.search(item)
        assert end is not None
        return item[: end.start()] + element + item[end.start() :]

    return put


def _misspell_end(item: str, random: Random) -> str:
    texts = list(_TEXT.finditer(item))
    if not texts:
        return _append("<summary>quiet words</sumary>")(item, random)
    text = random.choice(texts)
    return item[: text.start(4)] + "</titel>" + item[text.end(4) :]


def _lose_child_end(item: str, random: Random) -> str:
    texts = list(_TEXT.finditer(item))
    if not texts:
        return _append("<summary>quiet words")(item, random)
    text = random.choice(texts)
    return item[: text.start(4)] + item[text.end(4) :]


def _lose_end(item: str, _random: Random) -> str:
    return _END.sub("", item)


KINDS: dict[str, Callable[[str, Random], str]] = {
    "<br>": _into_text(" a<br>b "),
    "<p>": _into_text("<p>a<p>b"),
    "<img>": _into_text("<img src='/a.png' alt>"),
    "crossed tags": _into_text("<b>a<i>b</b></i>"),
    "bare attribute": _append("<category hidden>c</category>"),
    "empty attribute": _append("<category domain= >c</category>"),
    "attribute twice": _append('<category domain="a" domain="a">c</category>'),
    "no quotes": _append("<category domain=http://a.example/c>c</category>"),
    "< in an attribute": _append('<category domain="a<b">c</category>'),
    "open quote": _append('<category domain="a>c</category>'),
    "<3": _into_text(" we <3 feeds "),
    "a < b": _into_text(" a < b "),
    "a <b": _into_text(" if a <b then "),
    "List<String>": _into_text(" a List<String> of "),
    "]]>": _into_text(" a ]]> b "),
    "stray end tag": _into_text(" a</b> "),
    "-- in a comment": _append("<!-- a -- b -->"),
    "no item end": _lose_end,
    "misspelt end": _misspell_end,
    "no end": _lose_child_end,
    "open CDATA": _append("<summary><![CDATA[a b</summary>"),
    "open comment": _append("<!-- a b"),
    "CDATA in CDATA": _append("<summary><![CDATA[a <![CDATA[b]]> c]]></summary>"),
}
