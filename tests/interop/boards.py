"""Bull Board as a process of its own, as the profile ``bullboard`` runs it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.interop.node_driver import install_packages
from tests.servers import find_free_port

FOLDER = Path(__file__).parents[2] / "monitoring" / "bullboard"


@contextmanager
def running_board(redis_url: str, *, items: str, prefix: str) -> Iterator[httpx2.Client]:
    """Run Bull Board on a Redis, and yield a client of it.

    Raises:
        NodeMissing: as :func:`install_packages`.
    """
    node, port = install_packages(FOLDER), find_free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "REDIS_URL": redis_url,
        "BULL_QUEUE_NAME": items,
        "QUEUE_PREFIX": prefix,
        "PORT": str(port),
    }
    process = subprocess.Popen(
        [node, "server.mjs"], cwd=FOLDER, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert str(port) in process.stdout.readline()
        base_url = f"http://127.0.0.1:{port}"
        with httpx2.Client(base_url=base_url, trust_env=False, timeout=20) as client:
            yield client
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()
