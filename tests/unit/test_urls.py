"""Which host a URL is counted for."""

import pytest

from shared.urls import host_of, hosts_of, is_well_formed


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://lwn.net/headlines/rss", "lwn.net"),
        ("http://LWN.net:80/", "lwn.net"),
        ("https://lwn.net:443/", "lwn.net"),
        ("https://lwn.net./", "lwn.net"),
        ("http://lwn.net:443/", "lwn.net:443"),
        ("http://127.0.0.2:8080/feed.xml?start={start}", "127.0.0.2:8080"),
        ("https://me:secret@feeds.example/private", "feeds.example"),
        ("http://[2001:DB8::1]:8080/", "[2001:db8::1]:8080"),
        ("http://[2001:db8::1]/", "[2001:db8::1]"),
    ],
)
def test_a_host_is_named_in_one_way(url: str, host: str) -> None:
    assert host_of(url) == host


def test_urls_of_one_host_are_one_host() -> None:
    urls = ["https://a.example/1", "http://A.example/2", "https://b.example/"]
    assert hosts_of(urls) == {"a.example", "b.example"}


@pytest.mark.parametrize(
    "url",
    ["http://a.example:8O80/", "http://a.example:99999/", "http://[::1", "http://a\u2100.example/"],
)
def test_a_url_of_which_no_host_can_be_told_is_not_well_formed(url: str) -> None:
    assert not is_well_formed(url)


@pytest.mark.parametrize(
    "url",
    ["https://a.example/{start}/{ended}", "http://a.example:8080/?page={page}", "not a URL", ""],
)
def test_a_url_is_well_formed_with_the_places_of_a_window_in_it_or_without_a_host(url: str) -> None:
    assert is_well_formed(url)
