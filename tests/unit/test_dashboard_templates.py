"""What every template and static file keeps to: nothing from elsewhere, nothing inline."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from server.api.import_answers import Counts
from server.dashboard.rendering import PAGE_HEADERS, ROOM, STATIC, Message, environment, static_url

TEMPLATES = sorted((ROOM / "templates").rglob("*.html"))
STATIC_FILES = sorted(path for path in STATIC.rglob("*") if path.is_file())
OWN_FILES = [path for path in STATIC_FILES if "vendor" not in path.parts]
HOSTILE = "<script>alert('x')</script>\"' onload=x"
SVG_NAMESPACE = "http://www.w3.org/2000/svg"


def name_of(path: Path) -> str:
    return path.name


def render_text(source: str, **context: Any) -> str:
    """Render a template of the test's own with the macros at hand."""
    page = environment().from_string('{% import "macros.html" as m %}' + source)
    return page.render(**context)


@pytest.mark.parametrize("path", TEMPLATES + OWN_FILES, ids=name_of)
def test_own_files_load_nothing_from_elsewhere(path: Path) -> None:
    text = path.read_text("utf-8").replace(SVG_NAMESPACE, "")
    assert not re.search(r"https?://|//[a-z0-9-]+\.[a-z]", text), path


@pytest.mark.parametrize("path", TEMPLATES, ids=name_of)
def test_templates_need_no_leave_for_inline_scripts_or_styles(path: Path) -> None:
    text = path.read_text("utf-8")
    assert not re.search(r"\sstyle=|<style|\son[a-z]+=|javascript:|hx-on|hx-vals='?js:", text)
    assert not re.search(r"<script(?![^>]*\ssrc=)", text)
    assert not re.search(r"\|\s*safe\b(?!_)|autoescape", text)
    # htmx would run these filters of an event as code.
    assert not re.search(r'hx-trigger="[^"]*\[', text)


def test_content_policy_allows_nothing_unsafe() -> None:
    policy = PAGE_HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert "*" not in policy
    for directive in ("frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"):
        assert directive in policy


def test_script_of_others_is_here_with_its_licence() -> None:
    [folder] = (STATIC / "vendor").iterdir()
    assert {path.name for path in folder.iterdir()} == {"htmx.min.js", "LICENSE"}
    version = folder.name.removeprefix("htmx@")
    assert f'version:"{version}"' in (folder / "htmx.min.js").read_text("utf-8")
    base = (ROOM / "templates" / "base.html").read_text("utf-8")
    assert f"vendor/{folder.name}/htmx.min.js" in base


def test_url_of_a_static_file_changes_with_its_content() -> None:
    assert re.fullmatch(r"/admin/static/app\.css\?v=[0-9a-f]{12}", static_url("app.css"))
    assert static_url("app.css").split("=")[1] != static_url("app.js").split("=")[1]


def test_every_icon_that_is_used_exists() -> None:
    root = ElementTree.parse(STATIC / "icons.svg").getroot()
    icons = {symbol.get("id") for symbol in root}
    used = {
        name
        for path in TEMPLATES
        for name in re.findall(r'(?:icon\(|symbol=)"([a-z]+)"', path.read_text("utf-8"))
    }
    assert used
    assert used <= icons
    assert {"done", "warning", "problem"} <= icons


def test_texts_are_escaped_wherever_they_stand() -> None:
    source = """
        {% call m.page_header(text, text) %}{% endcall %}
        {{ m.badge(text) }}{{ m.message(message) }}{{ m.json_view(text, text) }}
        {% call m.empty(text, text) %}{% endcall %}
        {% call m.table([text, (text, "number")], text) %}
          <tr>{% call m.cell(text) %}{{ text }}{% endcall %}</tr>
        {% endcall %}
        {% call m.definitions() %}{% call m.definition(text) %}{{ text }}{% endcall %}{% endcall %}
        {{ m.confirm(text, text, text, {text: text}) }}{{ m.act(text, text, {text: text}) }}
        {% call m.live(text, 2, text) %}{{ text }}{% endcall %}{{ m.outside(text, text) }}
    """
    html = render_text(source, text=HOSTILE, message=Message(HOSTILE, "problem", HOSTILE, HOSTILE))
    assert html.count("&lt;script&gt;alert") > 20
    assert "<script" not in html
    assert not re.search(r'"[^"<>]*" onload=x', html)


def test_parts_that_may_hold_actions_need_none() -> None:
    html = render_text('{{ m.page_header("Imports") }}{{ m.empty("No feed yet.") }}')
    assert "<h1>Imports</h1>" in html
    assert "No feed yet." in html
    assert "actions" not in html


def test_outside_links_lead_to_the_web_only() -> None:
    html = render_text(
        '{{ m.outside("https://x.example/?a&b", "X") }}|{{ m.outside("javascript:alert(1)", "Y") }}'
    )
    link, plain = html.split("|")
    assert 'href="https://x.example/?a&amp;b" rel="noopener noreferrer"' in link
    assert plain.strip() == "Y"


def test_bar_of_counts_adds_up_and_says_its_numbers() -> None:
    counts = Counts(
        fetched=8, new=4, updated=2, unchanged=0, duplicate=0, superseded=0, dead=1, removed=0,
        pending=1,
    )  # fmt: skip
    html = render_text("{{ m.counts_bar(counts) }}", counts=counts)
    widths = re.findall(r'class="count-(\w+)" x="([\d.]+)" y="0" width="([\d.]+)"', html)
    assert widths == [
        ("new", "0", "500.0"),
        ("updated", "500.0", "250.0"),
        ("dead", "750.0", "125.0"),
        ("pending", "875.0", "125.0"),
    ]
    assert 'aria-label="Counts: 4 new, 2 updated, 1 dead, 1 pending"' in html
    empty = Counts(**dict.fromkeys(Counts.model_fields, 0))
    assert "nothing fetched" in render_text("{{ m.counts_bar(counts) }}", counts=empty)


def test_slim_bar_of_counts_names_what_changed_first() -> None:
    names = ("new", "updated", "unchanged", "duplicate", "superseded", "dead", "removed", "pending")
    counts = dict.fromkeys(names, 0) | {"fetched": 9, "unchanged": 9}
    source = "{{ m.counts_bar(counts, slim=true) | striptags }}"
    assert render_text(source, counts=counts).split() == ["9", "unchanged", "of", "9"]
    counts |= {"unchanged": 7, "new": 2}
    assert render_text(source, counts=counts).split() == ["2", "new", "of", "9"]


def test_part_that_has_come_to_rest_asks_no_more() -> None:
    moving = '{% call m.live("/x", 2) %}a{% endcall %}'
    resting = '{% call m.live("/x", none) %}a{% endcall %}'
    assert 'hx-get="/x" hx-trigger="every 2s, refresh"' in render_text(moving)
    assert "hx-" not in render_text(resting)


def test_part_that_folds_is_closed_unless_it_is_asked_for() -> None:
    html = render_text('{% call m.fold("Filters <b>") %}<p>in it</p>{% endcall %}')
    assert '<details class="fold">' in html
    assert "<span>Filters &lt;b&gt;</span></summary>" in html
    assert "<p>in it</p>" in html
    wide = '{% call m.fold("Filters", is_open=true, id="filters", wide="open") %}x{% endcall %}'
    assert '<details class="fold wide-open" id="filters" open>' in render_text(wide)
