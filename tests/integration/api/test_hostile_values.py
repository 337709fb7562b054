"""Stored values are plain text that may hold anything: whatever shows one escapes it."""

from io import StringIO
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
from rich.console import Console

from server.commands.output import print_table, print_text
from tests.api import Api, seed_item
from tests.pages import get_page

HOSTILE = [
    "<script>parent.alert('x')</script>",
    "</title><img src=x onerror=alert(1)>",
    "\"><b onmouseover='x()'>",
    "{{ 7 * 7 }} {% raw %} & &lt;b&gt;",
    "List<String> & AT&amp;T",
]
STEERING = "\x1b[2J\x1b]0;owned\x07\x9b31m\r\b title\u202e"


@pytest.mark.parametrize("text", HOSTILE)
def test_the_pages_of_items_show_every_value_as_the_text_that_it_is(api: Api, text: str) -> None:
    item_id = seed_item(
        api, title=text, author=text, categories=[text],
        enclosures=[{"url": "https://lwn.net/a", "type": text}],
        extra=[{"name": text, "value": text, "attributes": {text: text}}],
    )  # fmt: skip
    for path in ("/admin/items", f"/admin/items/{quote(item_id, safe='')}"):
        page = get_page(api, path)
        assert " ".join(text.split()) in page.text
        assert text not in page.html


@pytest.mark.parametrize("text", [*HOSTILE, STEERING])
def test_the_api_gives_values_word_for_word_as_json(api: Api, text: str) -> None:
    seed_item(api, "1", title=text, extra=[{"name": "n", "value": text}])
    answer = api.client.get("/items/lwn%231")
    assert answer.headers["content-type"].startswith("application/json")
    assert (answer.json()["title"], answer.json()["extra"][0]["value"]) == (text, text)


@pytest.mark.parametrize("text", HOSTILE)
def test_an_address_that_holds_markup_is_exported_as_an_address(api: Api, text: str) -> None:
    url = f"https://lwn.net/{quote(text, safe='<>&')}"
    added = api.client.post("/feeds", json={"source": "lwn", "url": url})
    assert added.status_code in (201, 422)
    opml = api.client.get("/feeds.opml").content
    urls = [outline.get("xmlUrl") for outline in ElementTree.fromstring(opml).iter("outline")]
    assert len(urls) == (1 if added.status_code == 201 else 0)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_no_value_steers_the_terminal_that_it_is_printed_to(is_terminal: bool) -> None:
    written = StringIO()
    console = Console(file=written, force_terminal=is_terminal, width=200, color_system=None)
    print_text(console, STEERING)
    print_table(console, ["Title"], [[STEERING], ["[red]markup[/red] <b>"]])
    text = written.getvalue()
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "[red]markup[/red] <b>" in text
