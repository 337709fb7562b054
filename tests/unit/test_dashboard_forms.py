"""What the forms for feeds make of what is typed, and what is advised about errors."""

import pytest

from server.dashboard.advice import advise, advise_by_text
from server.dashboard.pages.feed_forms import FeedForm
from shared.error_kinds import ErrorKind
from shared.errors import InvalidRequestError
from shared.store import Feed
from tests.factories import NOON


def make_feed(**fields: object) -> Feed:
    values = {"source": "news", "urls": ["https://a.example/"], "created_at": NOON}
    return Feed(**(values | fields))  # type: ignore[arg-type]


def test_urls_are_lines_and_get_a_scheme() -> None:
    form = FeedForm(urls=" a.example/feed \n\nhttp://b.example \r\n")
    assert form.all_urls == ["https://a.example/feed", "http://b.example"]


def test_new_feed_without_choices_leaves_them_to_the_service() -> None:
    assert FeedForm().new_feed("https://a.example/") == {"url": "https://a.example/"}
    assert FeedForm(schedule="none").new_feed("x")["interval_s"] is None


@pytest.mark.parametrize(
    ("interval_s", "shown"),
    [(86_400, ("1", "86400")), (5400, ("90", "60")), (61, ("61", "1")), (None, ("", "60"))],
)
def test_interval_is_shown_in_its_largest_unit_and_read_back(
    interval_s: int | None, shown: tuple[str, str]
) -> None:
    feed = make_feed(interval_s=interval_s)
    form = FeedForm.of(feed)
    assert (form.every, form.unit_s) == shown
    assert form.changes(feed)["interval_s"] == interval_s


def test_forged_unit_is_seconds() -> None:
    assert FeedForm(every="7", unit_s="x").new_feed("u")["interval_s"] == 7


def test_feed_without_urls_stays_so_when_none_is_typed() -> None:
    assert "urls" not in FeedForm().changes(make_feed(urls=[]))
    assert FeedForm().changes(make_feed())["urls"] == []


def test_header_without_a_colon_is_refused_without_repeating_what_follows() -> None:
    with pytest.raises(InvalidRequestError, match="accepted is Name: value"):
        FeedForm(headers="X-Fine: 1\nno colon").new_feed("u")


def test_every_kind_of_error_has_advice() -> None:
    assert [kind for kind in ErrorKind if advise(kind) is None] == []


def test_advice_is_found_by_an_errors_text() -> None:
    assert advise_by_text("gone: server answered 410") == advise("gone")
    assert advise_by_text("something else") is None
    assert advise_by_text(None) is None
    assert advise(None) is None
