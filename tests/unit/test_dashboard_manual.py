"""The documentation as Help: every page is there, its links stay within, and nothing in it runs."""

import re

import pytest

from server.dashboard.advice import ADVICE, IMPORT_ADVICE
from server.dashboard.manual import FOLDER, has_section, page_names, read_page
from server.dashboard.rendering import environment

ROOT_PATH = "/under/here"


def test_every_page_of_the_documentation_is_there_troubleshooting_first() -> None:
    assert page_names()[0] == "troubleshooting"
    assert set(page_names()) == {path.stem for path in FOLDER.glob("*.md")}


@pytest.mark.parametrize("name", page_names())
def test_links_stay_within_the_dashboard_and_lead_to_headings_that_exist(name: str) -> None:
    html = read_page(name, ROOT_PATH).html
    for link in re.findall(r'href="([^"]+)"', html):
        if link.startswith(("https://", "http://127.0.0.1")):
            continue
        found = re.fullmatch(rf"{ROOT_PATH}/admin/help/([a-z]+)(?:#(.+))?", link)
        assert found, link
        target = read_page(found[1], ROOT_PATH).html
        assert found[2] is None or f'id="{found[2]}"' in target, link


@pytest.mark.parametrize("name", page_names())
def test_a_page_keeps_to_the_content_policy_and_to_one_title(name: str) -> None:
    page = read_page(name)
    assert page.title
    assert not re.search(r"<h1|<script|\sstyle=|\son[a-z]+=", page.html)
    assert page.html.count("<td") == page.html.count("<td data-label=")


def test_link_to_a_file_of_the_source_is_text() -> None:
    page = read_page("troubleshooting").html
    assert ".env.example" in page
    assert 'href="../' not in page


@pytest.mark.parametrize("kind", [*IMPORT_ADVICE, *sorted(ADVICE), "item-too_large"])
def test_every_error_has_its_section(kind: str) -> None:
    assert has_section(kind)


def test_help_links_to_the_section_of_an_error_and_nowhere_for_an_unknown_one() -> None:
    source = '{% import "macros.html" as m %}{{ m.help(kind) }}|{{ m.item_help(kind) }}'
    page = environment(ROOT_PATH).from_string(source)
    one, item = page.render(kind="too_large").split("|")
    path = f"{ROOT_PATH}/admin/help/troubleshooting"
    assert f'href="{path}#too_large"' in one
    assert f'href="{path}#item-too_large"' in item
    assert f'href="{path}#stalled"' in page.render(kind="stalled").split("|")[1]
    assert page.render(kind="<b>novel</b>").replace("|", "").strip() == ""
