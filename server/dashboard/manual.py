"""The documentation as pages of the dashboard, made of its own Markdown: Help works offline.

An installed package carries it beside this module; in a checkout it is the folder ``docs``.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

_PACKAGED = Path(__file__).parent / "docs"
FOLDER = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "docs"
HELP_PATH = "/admin/help"
TROUBLESHOOTING = "troubleshooting"
# Most asked for first; the others follow by name.
_FIRST = (TROUBLESHOOTING, "operating", "tuning", "security")
_LINK_TO_PAGE = re.compile(r"(?P<page>[a-z-]*)(?:\.md)?(?:#(?P<anchor>.*))?")


@dataclass(frozen=True, slots=True)
class Section:
    """A heading of a page: ``level`` 2 or 3, and the anchor that leads to it."""

    level: int
    title: str
    anchor: str


@dataclass(frozen=True, slots=True)
class ManualPage:
    """A page as HTML; its title is not part of it."""

    name: str
    title: str
    sections: Sequence[Section]
    html: Markup


@cache
def page_names() -> Sequence[str]:
    """Return the names of all pages, most asked for first."""
    found = {path.stem for path in FOLDER.glob("*.md")}
    first = [name for name in _FIRST if name in found]
    return (*first, *sorted(found.difference(first)))


@cache
def read_page(name: str, root_path: str = "") -> ManualPage:
    """Return one of :func:`page_names`; links among them stay within the dashboard."""
    # Raw HTML stays text: nothing in a page can run, whoever wrote it.
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse((FOLDER / f"{name}.md").read_text("utf-8"))
    title, tokens = tokens[1].content, tokens[3:]
    sections = list(_name_headings(tokens))
    _label_cells(tokens)
    for token in tokens:
        _lead_links(token.children or (), name, root_path)
    html = markdown.renderer.render(tokens, markdown.options, {})
    return ManualPage(name, title, sections, Markup(_frame_tables(html)))


@cache
def has_section(anchor: str) -> bool:
    """Return whether the page on troubleshooting explains this."""
    return any(section.anchor == anchor for section in read_page(TROUBLESHOOTING).sections)


def anchor_of(heading: str) -> str:
    """Return the anchor of a heading, as the hosts of repositories make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def _name_headings(tokens: Sequence[Token]) -> Iterator[Section]:
    """Give headings their anchors; a page has one title, so further ones become sections."""
    for place, token in enumerate(tokens):
        if token.type not in ("heading_open", "heading_close"):
            continue
        level = max(2, int(token.tag[1]))
        token.tag = f"h{level}"
        if token.type == "heading_open":
            title = "".join(each.content for each in tokens[place + 1].children or ())
            token.attrSet("id", anchor_of(title))
            yield Section(level, title, anchor_of(title))


def _label_cells(tokens: Sequence[Token]) -> None:
    """Give each cell its column's name, for phones, and no inline style: the policy forbids it."""
    columns: list[str] = []
    column = 0
    for place, token in enumerate(tokens):
        if token.type == "thead_open":
            columns = []
        elif token.type == "tr_open":
            column = 0
        elif token.type in ("th_open", "td_open"):
            token.attrs.pop("style", None)
            if token.type == "th_open":
                columns.append(tokens[place + 1].content.replace("`", ""))
            else:
                token.attrs["data-label"] = columns[column]
            column += 1


def _lead_links(tokens: Sequence[Token], name: str, root_path: str) -> None:
    """Turn links to other pages into the dashboard's; those to files of the source become text."""
    target: str | None = None
    for token in tokens:
        if token.type == "link_open":
            target = _target(str(token.attrGet("href")), name, root_path)
            token.hidden = target is None
            token.attrs["href"] = target or ""
        elif token.type == "link_close":
            token.hidden = target is None
        elif target is not None and token.content.removesuffix(".md") in page_names():
            # Named by its file, which nobody sees here.
            token.content = _title_of(token.content.removesuffix(".md"))


def _target(link: str, name: str, root_path: str) -> str | None:
    if link.startswith(("https://", "http://")):
        return link
    found = _LINK_TO_PAGE.fullmatch(link)
    if found is None or (found["page"] or name) not in page_names():
        return None
    anchor = f"#{found['anchor']}" if found["anchor"] else ""
    return f"{root_path}{HELP_PATH}/{found['page'] or name}{anchor}"


def _title_of(name: str) -> str:
    with (FOLDER / f"{name}.md").open(encoding="utf-8") as file:
        return file.readline().strip("# \n")


def _frame_tables(html: str) -> str:
    """Let a wide table scroll by itself, by keyboard too."""
    frame = '<div class="table" role="region" aria-label="Table" tabindex="0"><table>'
    return html.replace("<table>", frame).replace("</table>", "</table></div>")
