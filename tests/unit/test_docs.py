"""The pages for people: whatever they link to, or name, is there."""

import re
import subprocess
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from fastapi.routing import APIRoute

from server.api.routes import ROUTERS as API_ROUTERS
from server.cli import app as command_line
from server.dashboard.advice import ADVICE as ITEM_ADVICE
from server.dashboard.advice import IMPORT_ADVICE
from server.dashboard.pages import ROUTERS as PAGE_ROUTERS
from server.fetching import network
from tests.conftest import __file__ as conftest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

_FENCE = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_VARIABLE = re.compile(r"\b[A-Z]+(?:_[A-Z]+)+\b")
# Not the namespace of that name: kubectl -n feedmill get pods.
_COMMAND = re.compile(
    r"(?<!-n )\bfeedmill((?: (?:[a-z][a-z-]*|--?[a-z-]+|'[^'\n]*'|[A-Za-z./:#_0-9…]+))+)"
)
_CALL = re.compile(r"(?:GET|POST|PUT|PATCH|DELETE)(?:/[A-Z]+)* (/[^\s`?'\"|,]*)")
_LOCAL_URL = re.compile(r"(?:localhost|127\.0\.0\.1):8000(/[^\s`?'\">]*)")
_FILE = re.compile(
    r"(?<!/)\b(?:server|worker|shared|feedmill|examples|tests|monitoring|deploy|docs)/[\w./-]*\w"
)
# Not folders of a machine.
_PATH_ALONE = re.compile(r"`(/(?!etc/|home\b|opt/|var/)[a-z][^\s`?]*)`")


def read(page: Path) -> str:
    return page.read_text("utf-8")


def code_of(text: str) -> str:
    """Return what is set as code, blocks and spans, a line each."""
    blocks = _FENCE.findall(text)
    spans = re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))
    return "\n".join([*blocks, *spans])


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that GitHub gives a page's headings."""
    headings = _HEADING.findall(_FENCE.sub("", read(page)))
    return {re.sub(r"[^\w\- ]", "", each.lower()).strip().replace(" ", "-") for each in headings}


def find_broken_links(page: Path) -> Iterator[str]:
    for link in _LINK.findall(_FENCE.sub("", read(page))):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            yield link


@pytest.mark.parametrize("name", NAMES)
def test_relative_links_and_anchors_lead_somewhere(name: str) -> None:
    assert list(find_broken_links(ROOT / name)) == []


def test_readme_is_two_screens_and_names_every_page() -> None:
    text = read(ROOT / "README.md")
    assert len(text.splitlines()) <= 110
    for page in PAGES[1:]:
        assert f"(docs/{page.name})" in text


def test_every_alert_has_its_runbook() -> None:
    rules = yaml.safe_load(read(ROOT / "monitoring/prometheus/alerts.yml"))["groups"][0]["rules"]
    for rule in rules:
        assert rule["annotations"]["runbook_url"] == f"docs/operating.md#{rule['alert'].lower()}"
        assert rule["alert"].lower() in anchors_of(ROOT / "docs/operating.md")


@pytest.mark.parametrize("kind", sorted({*IMPORT_ADVICE, "no_url"}))
def test_every_kind_of_failed_import_is_explained(kind: str) -> None:
    assert kind in anchors_of(ROOT / "docs/troubleshooting.md")


@pytest.mark.parametrize("error_type", sorted(ITEM_ADVICE))
def test_every_error_of_a_dead_letter_is_explained(error_type: str) -> None:
    letters = read(ROOT / "docs/troubleshooting.md").partition("\n# Dead letters\n")[2]
    assert re.search(rf"^### (?:item )?{error_type}$", letters, re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_variables_that_are_named_exist(name: str) -> None:
    example = read(ROOT / ".env.example")
    known = set(re.findall(r"^#([A-Z_]+)=", example, re.MULTILINE))
    known |= set(_VARIABLE.findall(read(Path(conftest))))
    known |= set(_VARIABLE.findall(read(ROOT / "benchmarks" / "stores.py")))
    # OpenSSL's, read by the fetcher.
    known |= {network.FILE_VARIABLE, network.FOLDER_VARIABLE}
    assert set(_VARIABLE.findall(read(ROOT / name))) - known == set()


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command that words name, and the words after it; fails where there is none."""
    command: Any = typer.main.get_command(command_line)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"{command.name} has no {words[0]!r}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize("name", NAMES)
def test_commands_and_options_that_are_named_exist(name: str) -> None:
    for match in _COMMAND.findall(code_of(read(ROOT / name))):
        command, rest = find_command(re.findall(r"'[^']*'|\S+", match))
        options = set(chain.from_iterable(param.opts for param in command.params)) | {"--help"}
        assert {word for word in rest if word.startswith("-")} <= options, match


def test_a_command_that_is_not_there_is_found_out() -> None:
    assert find_command(["dlq", "list", "--by-cause"])[1] == ["--by-cause"]
    for words in (["nonsense"], ["dlq", "nonsense"]):
        with pytest.raises(AssertionError, match="has no 'nonsense'"):
            find_command(words)


def served_paths() -> set[str]:
    routes = [route for router in (*API_ROUTERS, *PAGE_ROUTERS) for route in router.routes]
    paths = [route.path for route in routes if isinstance(route, APIRoute)]
    return {re.sub(r"\{[^}]*\}", "{}", path) for path in paths} | {"/openapi.json"}


@pytest.mark.parametrize("name", NAMES)
def test_http_paths_that_are_named_are_served(name: str) -> None:
    code = code_of(read(ROOT / name))
    spans = "".join(f"`{line}`\n" for line in code.splitlines())
    named = [*_CALL.findall(code), *_LOCAL_URL.findall(code), *_PATH_ALONE.findall(spans)]
    shapes = {re.sub(r"\{[^}]*\}|\b[A-Z]{2,}\b", "{}", path) for path in named}
    assert shapes - served_paths() == set()


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_named_exist(name: str) -> None:
    named = set(_FILE.findall(code_of(read(ROOT / name))))
    assert [file for file in named if not (ROOT / file).exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_make_targets_that_are_named_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", read(ROOT / "Makefile"), re.MULTILINE))
    named = re.findall(r"^make ([a-z]+)", code_of(read(ROOT / name)), re.MULTILINE)
    assert set(named) <= targets


def test_make_help_lists_every_word() -> None:
    words = " ".join(re.findall(r"^\.PHONY: (.+)$", read(ROOT / "Makefile"), re.MULTILINE)).split()
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(re.findall(r"^make ([a-z-]+)", said.stdout, re.MULTILINE)) == set(words)
