"""A real server is given addresses that lead inside; somebody listens there."""

import json
from pathlib import Path

from tests.hostile_urls import NAMES, literal_urls
from tests.listeners import Listeners
from tests.processes import Deploy, Deployment

# Read by every Python that starts with this folder on its path: the resolver of the test.
RESOLVER = """
import json, os, socket
_names = json.loads(os.environ["HOSTILE_NAMES"])
_real = socket.getaddrinfo

def getaddrinfo(host, port, *arguments, **options):
    if host not in _names:
        return _real(host, port, *arguments, **options)
    families = [socket.AF_INET6 if ":" in each else socket.AF_INET for each in _names[host]]
    places = [(each, port) for each in _names[host]]
    return [(family, 1, 6, "", place) for family, place in zip(families, places)]

socket.getaddrinfo = getaddrinfo
"""
SERVICES = (80, 443, 22, 25, 6379, 27017)


def hostile_environment(folder: Path, listeners: Listeners) -> dict[str, str]:
    """A resolver that leads inside, proxies and passwords that nobody may use."""
    (folder / "sitecustomize.py").write_text(RESOLVER)
    (folder / ".netrc").write_text("default login me password s3cr3t\n")
    proxy = f"http://127.0.0.1:{listeners.port}"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
    return {
        **dict.fromkeys(names, proxy),
        "HOME": str(folder),
        "PYTHONPATH": str(folder),
        "HOSTILE_NAMES": json.dumps(NAMES),
        "FETCH_ALLOW_PRIVATE": "false",
    }


def refused_at_once(deployed: Deployment, url: str) -> bool:
    """Return whether both calls that take an address answer 422 to it."""
    answers = [deployed.api.post(path, json={"url": url}) for path in ("/feeds", "/imports/start")]
    return [answer.status_code for answer in answers] == [422, 422]


def test_no_address_of_an_import_leads_inside(deploy: Deploy, tmp_path: Path) -> None:
    with Listeners(*SERVICES) as listeners:
        deployed = deploy(**hostile_environment(tmp_path, listeners))
        deployed.start_server()
        # With a port that is allowed, so that nothing but the address can be what is refused.
        literal = literal_urls(80)
        accepted = [url for url in literal if not refused_at_once(deployed, url)]
        assert accepted == []
        assert deployed.api.get("/feeds").json()["items"] == []

        by_name = [f"{scheme}://{name}/f" for name in NAMES for scheme in ("http", "https")]
        started = [deployed.start_import(url=url) for url in by_name]
        ended = [deployed.wait_until_closed(import_id) for import_id in started]
        assert {shown["error_kind"] for shown in ended} == {"refused_address"}
        assert all("not a public address" in shown["error"] for shown in ended)
        print(f"listeners at {', '.join(listeners.places)}")
        count = len(literal) + len(by_name)
        print(f"{count} hostile URLs, {len(listeners.connections)} connections to listeners")
        assert listeners.connections == []
