import traceback

import pytest

from server.fetching.addresses import check_url, is_allowed_address, mask_url
from shared.errors import InvalidRequestError
from shared.urls import mask_secrets


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("https://Example.ORG/Feed.xml", "https://example.org/Feed.xml"),
        ("  http://example.org  ", "http://example.org/"),
        ("http://example.org:80/a", "http://example.org/a"),
        ("https://example.org:443/a?b=1&c=%20#top", "https://example.org/a?b=1&c=%20"),
        ("https://bücher.example/ä?ö=1", "https://xn--bcher-kva.example/%C3%A4?%C3%B6=1"),
        ("https://example.org/{start}?to={ended}", "https://example.org/{start}?to={ended}"),
        ("https://user:pass@example.org/", "https://user:pass@example.org/"),
        ("http://8.8.8.8/feed", "http://8.8.8.8/feed"),
        ("http://0x08080808/feed", "http://8.8.8.8/feed"),
        ("http://[2606:4700::1111]/", "http://[2606:4700::1111]/"),
    ],
)
def test_a_public_url_is_brought_into_one_spelling(written: str, normal: str) -> None:
    assert check_url(written, allow_private=False) == normal


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0", "0.0.0.0",
        "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.0.8",
        "127。0。0。1", "127.0.0.1。", "127.0.0.1\u00ad", "⑯⑨｡254。169．254", "１２７.0.0.1",
        "loc\u00adalhost", "168.63.129.16", "198.18.0.1", "224.0.0.1", "240.0.0.1",
        "255.255.255.255", "127.0.0.1.", "①②⑦.⓪.⓪.①",
        "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]",
        "[64:ff9b:1::1]", "[2002:7f00:1::]", "[2001::1]", "[fe80::1]", "[fec0::1]", "[fc00::1]",
        "[ff02::1]", "[::ffff:0:7f00:1]", "localhost", "LOCALHOST.", "feeds.localhost",
    ],
)  # fmt: skip
def test_a_private_address_is_refused_in_every_spelling(host: str) -> None:
    with pytest.raises(InvalidRequestError):
        check_url(f"http://{host}/feed", allow_private=False)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:1234", "[::1]:99", "10.1.2.3"])
def test_a_private_address_and_any_port_are_accepted_when_allowed(host: str) -> None:
    assert host in check_url(f"http://{host}/feed", allow_private=True)


@pytest.mark.parametrize(
    "url",
    [
        "", "feed.xml", "/etc/passwd", "file:///etc/passwd", "gopher://example.org/",
        "ftp://example.org/", "javascript:alert(1)", "data:text/xml,<rss/>", "http://",
        "http:///path", "https://:443/", "http://exa\tmple.org/", "http://exam ple.org/",
        "http://example.org\\@127.0.0.1/", "http://a@b@127.0.0.1/", "http://example..org/",
        "http://[::1", "http://[fe80::1%25eth0]/", "http://999.1.1.1/", "http://1.2.3.4.5x:99999/",
        "http://example.org:0/", "http://example.org:99999/", "http://example.org:22/",
        "http://example.org:6379/", "http://example.org:27017/", "http://example.org\r\nX: y/",
        "http://" + "a" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_public_web_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequestError):
        check_url(url, allow_private=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://me:s3cr3t",
        "http://me:s3cr3t\uff20x@y/",
        "http://[me:s3cr3t@x/",
        "ftp://me:s3cr3t@x/",
    ],
)
def test_a_refusal_does_not_repeat_a_password(url: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_url(url, allow_private=False)
    assert "s3cr3t" not in "".join(traceback.format_exception(caught.value)[1:])


def test_even_when_private_is_allowed_other_schemes_and_multicast_are_refused() -> None:
    for url in ("file:///etc/passwd", "http://224.0.0.1/", "http://0.0.0.0/"):
        with pytest.raises(InvalidRequestError):
            check_url(url, allow_private=True)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("lwn.net/feed", "URL must begin with http:// or https://"),
        ("//lwn.net/feed", "URL must begin with http:// or https://"),
        ("ftp://lwn.net/feed", "URL must begin with http:// or https://, not 'ftp'"),
    ],
)
def test_a_url_of_another_scheme_or_none_is_told_what_is_missing(url: str, said: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_url(url, allow_private=False)
    assert str(caught.value) == said


@pytest.mark.parametrize("url", ["http://10.0.0.1/", "http://localhost/", "http://a.example:81/"])
def test_refusal_names_the_setting_that_would_allow_it(url: str) -> None:
    with pytest.raises(InvalidRequestError, match="set FETCH_ALLOW_PRIVATE=true to allow"):
        check_url(url, allow_private=False)
    with pytest.raises(InvalidRequestError) as caught:
        check_url("http://224.0.0.1/", allow_private=True)
    assert "FETCH_ALLOW_PRIVATE" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "allowed"),
    [("8.8.8.8", True), ("127.0.0.1", False), ("::ffff:10.0.0.1", False), ("no address", False),
     ("2606:4700::1111", True), ("fe80::1%eth0", False)],
)  # fmt: skip
def test_resolved_addresses_are_judged_like_literal_ones(address: str, allowed: bool) -> None:
    assert is_allowed_address(address, allow_private=False) is allowed


def test_masking_hides_credentials_and_secret_looking_values_only() -> None:
    url = "https://me:s3cr3t-XYZZY@example.org/f?page=2&api_key=s3cr3t-XYZZY&token=s3cr3t-XYZZY"
    masked = mask_url(url)
    assert "XYZZY" not in masked
    assert masked == "https://***@example.org/f?page=2&api_key=***&token=***"


@pytest.mark.parametrize(
    "name",
    ["key", "api_key", "apikey", "ACCESS-KEY", "auth_key", "mytoken", "authtoken",
     "X-Amz-Signature", "sig", "pass", "user.pwd", "clientsecret", "rsspassword", "my_sid",
     "code", "jwt", "authMechanismProperties"],
)  # fmt: skip
def test_urls_and_text_with_urls_are_masked_by_one_rule(name: str) -> None:
    url = f"https://example.org/f?page=2&{name}=XYZZY&last=1"
    masked = f"https://example.org/f?page=2&{name}=***&last=1"
    assert (mask_url(url), mask_secrets(f"see {url}")) == (masked, f"see {masked}")


@pytest.mark.parametrize("query", ["a=1;token=XYZZY;b", "a=1&amp;token=XYZZY", "token=XYZZY?x"])
def test_a_secret_is_masked_however_the_query_is_divided(query: str) -> None:
    url = f"https://example.org/f?{query}"
    assert "XYZZY" not in mask_url(url) + mask_secrets(url)


@pytest.mark.parametrize(
    "query",
    ["cat=keyboards&page=1", "monkey=1", "postcode=2", "author=3", "key=", "tokens", "q=a-key"],
)
def test_masking_leaves_an_ordinary_url_alone(query: str) -> None:
    url = f"https://example.org/feed.xml?{query}"
    assert (mask_url(url), mask_secrets(url)) == (url, url)


def test_masking_costs_what_the_text_is_long() -> None:
    for part in ("?", "?a_", "?_", "&key", "?token", "_", "?a-"):
        text = "https://h/?" + part * 100_000
        assert mask_secrets(text) == text
