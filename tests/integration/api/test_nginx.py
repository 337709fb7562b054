"""Behind a real nginx, configured as docs/proxy.md has it."""

import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import trustme

from server.dashboard.rendering import PLACES
from server.dashboard.site import LOGIN_PATH
from shared.queue import RedisConnection
from shared.store import Stores
from tests.api import ServedApi, serve_api
from tests.processes import wait_until
from tests.servers import ending_with_us, find_free_port

KEY = "k" * 32
DOCS = Path(__file__).parents[3] / "docs" / "proxy.md"
FEED = '<rss version="2.0"><channel><title>News</title><item><guid>1</guid></item></channel></rss>'
pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx here")


def read_server(number: int, *, port: int, certificate: Path, upstream: str) -> str:
    """Return a configuration of the documentation, with ports and certificate of a test."""
    text = re.findall(r"```nginx\n(.*?)```", DOCS.read_text(), re.DOTALL)[number]
    for pattern, value in {
        r"(?<=listen )443": f"127.0.0.1:{port}",
        r"(?<=ssl_certificate )\S+(?=;)": str(certificate),
        r"(?<=ssl_certificate_key )\S+(?=;)": str(certificate),
        r"http://127\.0\.0\.1:8000": upstream,
    }.items():
        text, count = re.subn(pattern, value, text)
        assert count == 1, pattern
    return str(text)


@contextmanager
def run_nginx(folder: Path, number: int, name: str, upstream: str) -> Iterator[httpx2.Client]:
    """Run nginx with TLS for the time of a test; the client calls it by its name."""
    authority, port, certificate = trustme.CA(), find_free_port(), folder / "certificate.pem"
    issued = authority.issue_cert(name, "127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(certificate)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""
    server = read_server(number, port=port, certificate=certificate, upstream=upstream)
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"{user} daemon off; worker_processes 1; pid {folder}/pid; events {{}}\n"
        f"http {{ access_log off; {places}\n{server} }}\n"
    )
    command = [*ending_with_us(), "nginx", "-e", "stderr", "-p", str(folder)]
    process = subprocess.Popen([*command, "-c", str(configuration)])
    context = ssl.create_default_context()
    authority.configure_trust(context)
    try:
        with httpx2.Client(
            base_url=f"https://127.0.0.1:{port}",
            headers={"host": name},
            verify=context,
            timeout=20,
            trust_env=False,
        ) as client:
            wait_until(lambda: _is_up(client, process), "nginx answers", within_s=10)
            yield client
    finally:
        process.terminate()
        process.wait(10)


def _is_up(client: httpx2.Client, process: "subprocess.Popen[bytes]") -> bool:
    assert process.poll() is None, "nginx ended"
    try:
        return client.get("/healthz").status_code > 0
    except httpx2.TransportError:
        return False


def follow_pages(client: httpx2.Client, root: str) -> None:
    """Open each page, everything that it links to on this site, and what those pages load."""
    links: set[str] = set()
    for place in PLACES:
        page = client.get(root + place.path)
        assert page.status_code == 200, place
        links |= _own_paths(page.text, root)
    assert len(links) > 10
    loaded: set[str] = set()
    for path in links:
        answer = client.get(path)
        assert answer.status_code == 200, path
        if answer.headers["content-type"].startswith("text/html"):
            loaded |= _own_paths(answer.text, root, r"<(?:link|script|img)[^>]* (?:href|src)")
            loaded |= _own_paths(answer.text, root, r" data-[a-z-]+")
    for path in loaded - links:
        assert client.get(path).status_code == 200, path


def _own_paths(html: str, root: str, before: str = r" (?:href|src)") -> set[str]:
    """Return paths of this site in a page; all are below the root, but what forms send back."""
    for name, path in re.findall(r' ([a-z-]+)="(/[^"]*)"', html):
        assert name == "value" or path.startswith(f"{root}/"), (name, path)
    return set(re.findall(before + r'="(/[^"#]*)', html))


def use_it(client: httpx2.Client, root: str, served: ServedApi) -> None:
    """Log in, open all pages, post a form, call the API and watch an import."""
    name = client.headers["host"]
    assert client.get(f"{root}/admin/feeds").headers["location"].startswith(root + LOGIN_PATH)
    page = {"origin": f"https://{name}", "sec-fetch-site": "same-origin"}
    entered = client.post(root + LOGIN_PATH, data={"key": KEY}, headers=page)
    assert entered.headers["location"] == f"{root}/"
    assert "Secure" in entered.headers["set-cookie"]
    follow_pages(client, root)
    queue = served.services.settings.light_queue
    paused = client.post(f"{root}/admin/queues/{queue}/pause", headers=page)
    assert paused.headers["location"].startswith(f"{root}/admin/queues")
    evil = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    assert client.post(f"{root}/admin/queues/{queue}/pause", headers=evil).status_code == 403
    key = {"authorization": f"Bearer {KEY}"}
    started = client.post(
        f"{root}/imports/start", headers=key, json={"document": FEED, "source": "news"}
    )
    import_id = started.json()["imports"][0]["id"]
    with client.stream("GET", f"{root}/imports/{import_id}/events", headers=key) as events:
        # The import goes on, and so does the stream; its first event is here all the same.
        assert next(events.iter_lines()) == "event: import"


@pytest.mark.parametrize(
    ("number", "name", "root"),
    [(0, "feeds.example.com", ""), (1, "www.example.com", "/reader")],
    ids=["host", "path"],
)
def test_everything_works_through_nginx_as_documented(
    redis_client: RedisConnection,
    stores: Stores,
    tmp_path: Path,
    number: int,
    name: str,
    root: str,
) -> None:
    settings = {
        "api_key": KEY, "allowed_hosts": name, "trusted_proxies": "127.0.0.1", "root_path": root,
    }  # fmt: skip
    with (
        serve_api(redis_client, stores, **settings) as served,
        run_nginx(tmp_path, number, name, served.url) as client,
    ):
        use_it(client, root, served)
        # nginx passes on what a client makes up, and serves names that it does not know.
        forged = {"host": "evil.example", "x-forwarded-host": name}
        assert client.get(root + LOGIN_PATH, headers=forged).status_code == 400
        if root:
            assert client.get(root).headers["location"].endswith(f"{root}/")
