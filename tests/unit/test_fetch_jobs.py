"""The order in which fetch jobs stand in line."""

from server.feeds.fetch_jobs import alternate_hosts
from shared.store import Import, ImportState
from tests.factories import NOON


def make_import(import_id: str, *urls: str) -> Import:
    return Import(import_id, import_id, list(urls), "api", ImportState.QUEUED, NOON)


def test_hosts_take_turns_in_the_line_of_fetch_jobs() -> None:
    big = [make_import(f"a{n}", f"https://a.example/{n}") for n in range(3)]
    small = [make_import("b0", "https://b.example/0", "https://a.example/9")]
    document = [make_import("d0")]
    ordered = alternate_hosts([*big, *small, *document])
    assert [queued.source for queued in ordered] == ["a0", "b0", "d0", "a1", "a2"]
