"""Sources that are made from URLs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.feeds.source_names import make_hashed_source, make_source
from shared.models import is_source


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("https://lwn.net/headlines/rss", "lwn.net-headlines-rss"),
        ("https://www.Example.org:8080/", "example.org"),
        ("https://user:pw@example.org/a?key=secret#x", "example.org-a"),
        ("https://bücher.example/neu", "xn--bcher-kva.example-neu"),
        ("https:///", "feed"),
        ("https://[2001:db8::1]/x", "2001-db8-1-x"),
    ],
)
def test_source_is_host_and_path(url: str, source: str) -> None:
    assert make_source(url) == source


def test_long_source_is_cut_and_stays_distinct() -> None:
    first, second = (
        make_source("https://a.example/" + "x" * 99),
        make_source("https://a.example/" + "x" * 98),
    )
    assert len(first) == len(second) == 64
    assert first != second


@given(st.text(max_size=100))
def test_made_source_is_always_a_source(path: str) -> None:
    url = f"https://example.org/{path}"
    assert is_source(make_source(url))
    assert is_source(make_hashed_source(url))
