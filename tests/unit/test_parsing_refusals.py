"""A document that is no feed is an error that says what it is, never a feed without items."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.parsing import parse_feed
from shared.errors import ParseError

NOW = datetime(2026, 11, 3, tzinfo=UTC)
JOBS = (Path(__file__).parents[1] / "feeds" / "jobs.xml").read_text()
XHTML = (
    '<?xml version="1.0"?><!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "x.dtd">'
    '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>x</title></head><body/></html>'
)
VERSION = '"version": "https://jsonfeed.org/version/1"'


def refuse(document: bytes, content_type: str | None = None) -> ParseError:
    with pytest.raises(ParseError) as caught:
        parse_feed(document, content_type=content_type, url="https://feeds.example/f", now=NOW)
    return caught.value


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ("", "empty"),
        (" \n\t ", "empty"),
        ("\ufeff\n", "empty"),
        ("\x00\x00", "empty"),
        ("<?xml version='1.0'?>", "empty"),
        ("<!-- nothing -->", "empty"),
        ("<!DOCTYPE html><html><body>Not found</body></html>", "html"),
        ("<html><head><title>x</title></head></html>", "html"),
        ("<!-- page --><HTML><BODY>x</BODY></HTML>", "html"),
        ("<script>location='/login'</script>", "html"),
        ("<html><head><link rel='alternate' type='application/rss+xml' href='/f'/></html>", "html"),
        (XHTML, "html"),
        (f"<!DOCTYPE html><html><body><pre>{JOBS}</pre></body></html>", "html"),
        (f"<html><body>{JOBS}</body></html>", "html"),
        ("<html><script src='/_Incapsula_Resource?SWJIYLWA=1'></script></html>", "waf_challenge"),
        ("<!DOCTYPE html><title>Just a moment...</title>", "waf_challenge"),
        ("<html><h1>Sucuri WebSite Firewall - Access Denied</h1></html>", "waf_challenge"),
        ("Checking your browser before accessing", "waf_challenge"),
        ("<html><script src='/cdn-cgi/challenge-platform/h/b/x.js'></script>", "waf_challenge"),
        ("<html><script src='/cdn-cgi/challenge-platform/scripts/jsd/main.js'></script>", "html"),
        ("<link rel=icon href=/i.png><table></table>", "html"),
        ("<html><body>" + "a<br>" * 200, "html"),
        ('{"error": "no such feed"}', "json_error"),
        ('{"message": "Not Found", "status": 404}', "json_error"),
        ('{"errors": [{"code": 34, "message": "gone"}]}', "json_error"),
        ('{"type": "about:blank", "title": "Gone", "status": 410, "detail": "x"}', "json_error"),
        ('{"error": ', "json_error"),
        ("[Error] the database is away", "json_error"),
        ('{"jobs": [{"id": 1}]}', "not_a_feed"),
        ('{"error": null, "jobs": []}', "not_a_feed"),
        ("[1, 2]", "not_a_feed"),
        ("{}", "not_a_feed"),
        (f'{{{VERSION}, "items": {{}}}}', "not_a_feed"),
        (f"{{{VERSION}}}", "not_a_feed"),
        (f'{{{VERSION}, "items": [', "damaged"),
        (f'{{{VERSION}, "items": [{{"id": "1"', "damaged"),
        ("hello", "not_a_feed"),
        ("null", "not_a_feed"),
        ("\x1f\x08\x08compressed", "not_a_feed"),
        ("<opml version='2.0'><body/></opml>", "not_a_feed"),
        ("<urlset xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'/>", "not_a_feed"),
        ("<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "not_a_feed"),
        ("<rss><channel><title>x", "damaged"),
        ('<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">]><rss/>', "refused"),
    ],
)
def test_what_is_no_feed_is_refused_with_its_kind(document: str, kind: str) -> None:
    error = refuse(document.encode())
    assert (error.kind, error.retryable) == (kind, False)
    assert str(error)


@pytest.mark.parametrize("content_type", ["text/xml", "application/feed+json", "text/html"])
def test_what_a_document_is_depends_on_no_content_type(content_type: str) -> None:
    assert refuse(b"<html><body/></html>", content_type).kind == "html"
    assert refuse(b'{"error": "gone"}', content_type).kind == "json_error"
    assert parse_feed(JOBS.encode(), content_type=content_type, url=None, now=NOW).entries


def test_what_an_error_in_json_says_is_told() -> None:
    assert "no such feed" in str(refuse(b'{"error": {"code": 4, "message": "no such feed"}}'))
    assert len(str(refuse(b'{"error": "' + b"x" * 9999 + b'"}'))) < 300
