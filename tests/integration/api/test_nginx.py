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
NAME = "feeds.example.com"
DOCS = Path(__file__).parents[3] / "docs" / "proxy.md"
FEED = '<rss version="2.0"><channel><title>News</title><item><guid>1</guid></item></channel></rss>'
pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx here")


def read_configuration(number: int, upstream: str) -> str:
    """Return a configuration of the documentation, for a server elsewhere."""
    blocks = re.findall(r"```nginx\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert "127.0.0.1:8000" in blocks[number]
    return str(blocks[number]).replace("http://127.0.0.1:8000", upstream)


@contextmanager
def run_nginx(folder: Path, locations: str) -> Iterator[httpx2.Client]:
    """Run nginx with TLS for the time of a test; the client calls it by its name."""
    authority, port = trustme.CA(), find_free_port()
    authority.issue_cert(NAME, "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        folder / "certificate.pem"
    )
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"{user} daemon off; worker_processes 1; pid {folder}/pid; events {{}}\n"
        f"http {{ access_log off; {places}\n"
        f"server {{ listen 127.0.0.1:{port} ssl; server_name {NAME};\n"
        f"ssl_certificate {folder}/certificate.pem; ssl_certificate_key {folder}/certificate.pem;\n"
        f"{locations} }} }}\n"
    )
    command = [*ending_with_us(), "nginx", "-e", "stderr", "-p", str(folder)]
    process = subprocess.Popen([*command, "-c", str(configuration)])
    context = ssl.create_default_context()
    authority.configure_trust(context)
    try:
        with httpx2.Client(
            base_url=f"https://127.0.0.1:{port}",
            headers={"host": NAME},
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
    """Open each page, and everything that it links to on this site."""
    seen: set[str] = set()
    for place in PLACES:
        page = client.get(root + place.path)
        assert page.status_code == 200, place
        seen |= set(re.findall(r'\b(?:href|src)="(/[^"#]*)', page.text))
        forms = re.findall(r'\b(?:action|formaction|hx-get)="(/[^"]*)"', page.text)
        assert all(path.startswith(f"{root}/") for path in forms)
    assert len(seen) > 10
    for path in seen:
        assert path.startswith(f"{root}/"), path
        assert client.get(path).status_code == 200, path


def use_it(client: httpx2.Client, root: str, served: ServedApi) -> None:
    """Log in, open all pages, post a form, call the API and watch an import."""
    assert client.get(f"{root}/admin/feeds").headers["location"].startswith(root + LOGIN_PATH)
    page = {"origin": f"https://{NAME}", "sec-fetch-site": "same-origin"}
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


@pytest.mark.parametrize(("number", "root"), [(0, ""), (1, "/reader")], ids=["host", "path"])
def test_everything_works_through_nginx_as_documented(
    redis_client: RedisConnection, stores: Stores, tmp_path: Path, number: int, root: str
) -> None:
    settings = {
        "api_key": KEY, "allowed_hosts": NAME, "trusted_proxies": "127.0.0.1", "root_path": root,
    }  # fmt: skip
    with (
        serve_api(redis_client, stores, **settings) as served,
        run_nginx(tmp_path, read_configuration(number, served.url)) as client,
    ):
        use_it(client, root, served)
        if root:
            assert client.get(root).headers["location"].endswith(f"{root}/")
