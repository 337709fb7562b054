"""From what a publisher wrote to what is stored: titles as plain text, contents as safe HTML."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from server.parsing import parse_feed
from shared.plain_text import to_plain_text
from tests.documents import NOW, atom_document, documents_of, rss_document
from worker.sanitize import MAX_AMPERSANDS, MAX_TAGS, clean_extra, clean_html

CASES = Path(__file__).parents[1] / "feeds" / "cases" / "texts"
BASE = "https://site.example/a/b"
SLOWEST_S = 3.0
XHTML_TITLE = (
    "<title type='xhtml'><div xmlns='http://www.w3.org/1999/xhtml'>"
    "The <code>&lt;b&gt;</code></div></title>"
)


@pytest.mark.parametrize(
    ("html", "shown"),
    [
        ("C++ <vector> & you", "C++ <vector> & you"),
        ("Jo <jo@x.example>", "Jo <jo@x.example>"),
        ("Acme & Sons <EU>", "Acme & Sons <EU>"),
        ("R&#038;D", "R&D"),
        ("a&hellip;b &#x27;c&apos;", "a…b 'c'"),
        ("AT&T ?x=1&copy=2 &copyright", "AT&T ?x=1&copy=2 &copyright"),
        ("&copy 2026", "© 2026"),
        ("&amp;lt;b&amp;gt;", "&lt;b&gt;"),
        ("&nosuch; &ampx; &", "&nosuch; &ampx; &"),
        ("<b>Bold</b> <FONT color=red>news</FONT>", "Bold news"),
        ("one<br>two<p>three</p>four", "one two three four"),
        ("  a \n b  ", "a b"),
        ("1 < 2 <3 and 3 > 2", "1 < 2 <3 and 3 > 2"),
        ("if a<b then", "if a<b then"),
        ("a<b and c>d", "a<b and c>d"),
        ("<a title='x > y' href=z>link</a>", "link"),
        ("<a href=it's>link</a>", "link"),
        ("<td nowrap>cell</td>", "cell"),
        ("a<script>run()</script>b<STYLE>x</STYLE >c<svg><text>d</text></svg>e", "abce"),
        ("an open <script> tag", "an open tag"),
        ("a<!-- note -->b<!-- open", "ab<!-- open"),
        ("<![CDATA[Tom & Jerry]]>", "Tom & Jerry"),
        ("</kubernetes>", "</kubernetes>"),
    ],
)
def test_html_shows_its_text_and_what_is_no_element_of_html_stays(html: str, shown: str) -> None:
    assert to_plain_text(html) == shown


@pytest.mark.parametrize(
    "repeated",
    ["<", "<a ", "<a '", "<a '\"", "<b>", "<vector>", "<script>", "<!--", "<![CDATA[", "&", "&#1",
     "&a", " ", "<b hidden ", "<svg><script>", "<vector a=1>", "<img srcset='a, ", "<T",
     "<div>", "<dl><dd>", "<ul><li>", "<blockquote>", "<a href=/x><dl><dd>"],
)  # fmt: skip
@pytest.mark.parametrize("clean", [to_plain_text, lambda text: clean_html(text, "html", BASE)])
def test_a_hostile_text_takes_no_more_time_than_its_length(
    clean: Callable[[str], str], repeated: str
) -> None:
    text = repeated * (600_000 // len(repeated))
    started_s = time.process_time()
    clean(text)
    assert time.process_time() - started_s < SLOWEST_S


def test_a_text_of_too_many_ampersands_is_shown_as_the_text_it_is() -> None:
    text = "<b>" + "&" * (MAX_AMPERSANDS + 1)
    assert clean_html(text, "html", BASE) == "&lt;b&gt;" + "&amp;" * (MAX_AMPERSANDS + 1)


def test_a_text_of_too_many_tags_is_shown_without_them() -> None:
    text = "<p>A <b>b</b> &lt;c&gt;\nd</p><ul>" + "<li>one" * MAX_TAGS
    shown = "A b &lt;c&gt;<br>\nd" + " one" * MAX_TAGS
    assert clean_html(text, "html", BASE) == shown


@pytest.mark.parametrize("nested", ["<div>", "<ul><li>", "<a href=/x><dl><dd>"])
def test_the_most_tags_that_are_cleaned_take_no_more_time(nested: str) -> None:
    text = nested * (MAX_TAGS // nested.count("<"))
    started_s = time.process_time()
    assert "<" in clean_html(text, "html", BASE)
    assert time.process_time() - started_s < SLOWEST_S


@pytest.mark.parametrize(
    ("html", "stored"),
    [
        ("AT&amp;T is 3 > 2", "AT&amp;T is 3 &gt; 2"),
        ("AT&T", "AT&amp;T"),
        ("use List<String> or <set>", "use List&lt;String&gt; or &lt;set&gt;"),
        ("<my-x>a</my-x> <o:p>b</o:p> <foo x=1>c</foo> <path d=1>d</path>", "a b c d"),
        ("<svg><g><path d='x'/></g></svg>tail", "tail"),
        ("<img src='?a=1&b=2'>", '<img src="https://site.example/a/b?a=1&amp;b=2">'),
        ("<img src=//cdn.example/x.png>", '<img src="https://cdn.example/x.png">'),
        ("<img src='https://x.example/?a=1&amp;b=2'>",
         '<img src="https://x.example/?a=1&amp;b=2">'),
        ("<img srcset='a.png 1x,/b,c.png 2x, javascript:x 3x'>",
         '<img srcset="https://site.example/a/a.png 1x, https://site.example/b,c.png 2x">'),
        ("<blockquote cite='../c'>q</blockquote>",
         '<blockquote cite="https://site.example/c">q</blockquote>'),
        ("<blockquote cite='javascript:x'>q</blockquote>", "<blockquote>q</blockquote>"),
        ("<video src=v.mp4 poster=p.png autoplay></video>",
         '<video src="https://site.example/a/v.mp4" poster="https://site.example/a/p.png"></video>'),
        ("<a href='#note'>1</a>",
         '<a href="https://site.example/a/b#note" rel="noopener noreferrer">1</a>'),
    ],
)  # fmt: skip
def test_html_is_made_safe_and_its_addresses_absolute(html: str, stored: str) -> None:
    assert clean_html(html, "html", BASE) == stored


def test_without_a_base_addresses_stay_relative() -> None:
    assert clean_html("<img src='a.png'>", "html", None) == '<img src="a.png">'


@pytest.mark.parametrize("html", ["<img src='a.png'>", "<img srcset='a.png 2x'>"])
def test_a_base_that_is_no_url_costs_only_what_is_relative_to_it(html: str) -> None:
    assert "a.png" in clean_html(html, "html", "http://[broken")


def test_texts_cleaned_at_the_same_time_on_several_threads_keep_their_own_bases() -> None:
    bases = [None, *(f"https://{number}.example/" for number in range(7))]
    asked = [bases[number % len(bases)] for number in range(400)]
    with ThreadPoolExecutor(4) as threads:
        cleaned = threads.map(lambda base: clean_html("<img src='a.png'>", "html", base), asked)
    assert list(cleaned) == [f'<img src="{base or ""}a.png">' for base in asked]


def test_plain_text_becomes_html_that_shows_it_line_by_line() -> None:
    text = "List<String> & 3 < 4\r\n\n<script>"
    stored = "List&lt;String&gt; &amp; 3 &lt; 4<br>\n<br>\n&lt;script&gt;"
    assert clean_html(text, "text", BASE) == stored


@pytest.mark.parametrize(
    ("inner", "title"),
    [
        ("<title>AT&amp;T &lt;b&gt;</title>", "AT&T <b>"),
        ("<title type='text'>a &amp;amp; b</title>", "a &amp; b"),
        ("<title type='html'>a &amp;amp; &lt;b&gt;b&lt;/b&gt;</title>", "a & b"),
        (XHTML_TITLE, "The <b>"),
        ("<title type='xhtml'>a &lt;b&gt;</title>", "a <b>"),
    ],
)  # fmt: skip
def test_an_atom_title_is_read_by_its_type(inner: str, title: str) -> None:
    assert atom_document(inner)["title"] == title


def test_atoms_texts_of_type_text_are_escaped_with_their_lines() -> None:
    document = atom_document("<summary>a &lt;b&gt;\nc</summary><content>x &amp; y</content>")
    assert (document["summary"], document["content"]) == ("a &lt;b&gt;<br>\nc", "x &amp; y")


def test_names_of_authors_categories_and_extra_fields_keep_what_looks_like_a_tag() -> None:
    document = rss_document(
        "<author>Jo &lt;jo@x.example&gt;</author><category>List&lt;T&gt;</category>"
        "<j:company>Acme &amp;amp; Sons &lt;EU&gt;</j:company><j:pay>&lt; 50k</j:pay>",
        namespaces='xmlns:j="urn:j"',
    )
    assert document["author"] == "Jo <jo@x.example>"
    assert document["categories"] == ["List<T>"]
    values = [entry["value"] for entry in document["extra"]]
    assert values == ["Acme & Sons <EU>", "< 50k"]


@pytest.mark.parametrize("name", ["titles.xml", "titles.atom", "titles.json"])
def test_titles_that_talk_about_markup_lose_no_word(name: str) -> None:
    wanted = {
        "titles.xml": ["How should <selectedoption> work?", "Why is Vec<T> fast?", "Tom & Jerry",
                       "Bold news", "1 < 2 and 3 > 2"],
        "titles.atom": ["std::vector<int> explained", "How should <selectedoption> work?",
                        "The <dialog> element", "</kubernetes>"],
        "titles.json": ["</kubernetes>", "std::map<K, V>"],
    }  # fmt: skip
    documents = documents_of((CASES / name).read_bytes())
    assert [document["title"] for document in documents] == wanted[name]


def test_pictures_are_found_by_xml_base_else_by_the_items_link() -> None:
    [bird] = documents_of((CASES / "base.atom").read_bytes())
    [fish] = documents_of((CASES / "rss.xml").read_bytes())
    assert "https://case.example.test/posts/images/bird.jpg" in bird["content"]
    assert "https://case.example.test/2026/post/fish.webp" in fish["summary"]
    assert "https://cdn.example.test/x.png" in fish["summary"]


def test_pictures_of_an_item_without_a_link_are_found_by_the_feeds() -> None:
    channel = "<link>https://site.example/blog/</link>"
    document = rss_document("<description>&lt;img src='a.png'&gt;</description>", channel=channel)
    assert document["summary"] == '<img src="https://site.example/blog/a.png">'


def test_links_are_whole_and_those_of_unknown_schemes_are_left_out_with_a_warning() -> None:
    body = (CASES / "links.xml").read_bytes()
    documents = documents_of(body)
    assert [document.get("link") for document in documents] == [
        "https://case.example.test/donald-duck-li.1",
        "magnet:?xt=urn:btih:7YUK6RY4IPP2LTO&dn=a+b",
        "https://case.example.test/very/long/path/3",
        "https://case.example.test/a%20b/4?q=x%20y",
        None,
        "https://bücher.example.test/6",
        None,
    ]
    warnings = parse_feed(body, content_type=None, url=None, now=NOW).warnings
    assert "links that begin with gemini: are left out (1 items)" in warnings


@pytest.mark.parametrize(
    ("link", "stored"),
    [
        ("<link>www.site.example/x</link>", "https://www.site.example/x"),
        ("<link>//site.example/x</link>", "https://site.example/x"),
        ('<link uri="1234">https://site.example/x</link>', "https://site.example/x"),
        ('<link uri="https://site.example/y">Home</link>', "https://site.example/y"),
    ],
)
def test_a_link_is_read_by_goodwill(link: str, stored: str) -> None:
    channel = "<link>https://site.example/</link>"
    assert rss_document(link, channel=channel)["link"] == stored


def test_podcasts_and_films_come_with_their_files_and_absolute_addresses() -> None:
    [episode] = documents_of((CASES / "podcast.xml").read_bytes())
    extra = {entry["name"]: entry.get("attributes", {}) for entry in episode["extra"]}
    assert extra["itunes:image"] == {"href": "https://case.example.test/7.jpg"}
    assert extra["podcast:alternateEnclosure/podcast:source"] == {"uri": "ipfs://Qm7"}
    [clip] = documents_of((CASES / "media-only.xml").read_bytes())
    assert clip["summary"] == "A clip."
    assert clip["enclosures"] == [
        {"url": "https://case.example.test/c.mp4", "type": "video/mp4", "length": 99},
        {"url": "https://case.example.test/c.webm", "type": "video/webm"},
    ]


@pytest.mark.parametrize(
    ("feed", "entry", "author"),
    [
        ("<author><name>Ada</name></author>", "", "Ada"),
        ("<author><name>Ada</name></author>", "<author><name>Bo</name></author>", "Bo"),
        ("<author><name>Ada</name></author>",
         "<source><author><name>Cy</name></author></source>", "Cy"),
        ("", "<author><b>Jo</b> Doe</author>", "Jo Doe"),
    ],
)  # fmt: skip
def test_an_entry_without_an_author_has_that_of_its_source_or_feed(
    feed: str, entry: str, author: str
) -> None:
    assert atom_document(entry, feed=feed)["author"] == author


def test_markup_in_a_guid_is_read_as_its_text() -> None:
    body = b"<rss><channel><item><guid>post-<b>17</b></guid></item></channel></rss>"
    assert documents_of(body)[0]["guid"] == "post-17"


def test_what_known_fields_cannot_hold_is_kept_in_extra_in_document_order() -> None:
    document = atom_document(
        '<category term="a" scheme="urn:s" label="A"/><category term="b"/>'
        '<link href="https://site.example/1" title="One" type="text/html"/>'
        "<author><name>Ada</name><uri>https://ada.example/</uri></author>"
        '<content type="text/x-markdown"># hi</content>'
    )
    assert document["extra"] == [
        {"name": "category", "attributes": {"term": "a", "scheme": "urn:s", "label": "A"}},
        {
            "name": "link",
            "attributes": {
                "href": "https://site.example/1",
                "title": "One",
                "type": "text/html",
            },
        },
        {"name": "author/uri", "value": "https://ada.example/"},
        {"name": "content", "attributes": {"type": "text/x-markdown"}},
    ]


def counted(document: dict[str, Any]) -> tuple[str, str | None]:
    return document["content_hash"], document.get("counters_hash")


def test_counters_change_their_own_hash_only() -> None:
    namespaces = (
        'xmlns:slash="http://purl.org/rss/1.0/modules/slash/" '
        'xmlns:thr="http://purl.org/syndication/thread/1.0" '
        'xmlns:m="http://search.yahoo.com/mrss/"'
    )
    inner = (
        "<title>t</title><slash:comments>3</slash:comments>"
        '<link rel="replies" href="https://site.example/c" thr:count="3"/>'
        '<m:group><m:community><m:statistics views="3"/></m:community></m:group>'
    )
    before = counted(atom_document(inner, namespaces=namespaces))
    after = counted(atom_document(inner.replace("3", "4"), namespaces=namespaces))
    assert before[0] == after[0]
    assert before[1] != after[1]
    assert counted(atom_document("<title>t</title>"))[1] is None


def test_a_name_in_extra_holds_no_tag() -> None:
    cleaned = clean_extra({"name": "<script>x</script>", "value": "1 < 2"}, "text", None)
    assert cleaned == {"name": "scriptx/script", "value": "1 < 2"}
