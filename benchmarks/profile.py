"""Where the CPU of a first import goes, by file: ``python -m benchmarks.profile [--tree DIR]``.

py-spy samples server, parser and worker from outside; nothing of them is changed. A sample counts
for the innermost of our files on its stack. Samples of threads that wait do not count.
"""

import argparse
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.context import FULL
from benchmarks.deployment import Deployment, deployed
from benchmarks.feed import make_feed, published
from benchmarks.peers import peer_python
from benchmarks.report import NOW
from benchmarks.stores import available_stores, running_redis, running_store
from benchmarks.trees import ROOT, open_tree

_SAMPLES_PER_S = 200
_START_S = 2.0
_SHOWN = 12
_OUR_FOLDERS = ("server/", "worker/", "shared/")
# Innermost functions of threads that wait: for one another, for a socket, for another process.
_WAITING = (
    *("wait", "recv", "select", "poll", "accept", "sleep", "sigwait", "_worker", "_run", "rest"),
    *("_read_exactly", "read_from_socket", "_read_from_socket", "can_read"),
)


def main() -> None:
    """Profile one first import and print the shares."""
    parser = argparse.ArgumentParser("python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--tree", type=Path, default=ROOT, help="the checkout to profile")
    tree = open_tree(NOW, parser.parse_args().tree)
    with tempfile.TemporaryDirectory(prefix="feedmill-profile-") as name:
        folder = Path(name)
        with (
            running_redis(folder / "redis") as redis,
            running_store(available_stores()[0], folder / "store") as store,
            deployed(tree, folder, redis.url, store.url) as deployment,
            published(make_feed(FULL.items)) as feed,
        ):
            deployment.run_import(feed.small_url, "small")
            with _sampled(deployment, folder):
                deployment.run_import(feed.url, "board")
            for role in ("server", "worker"):
                print("\n".join(_shares(role, folder / f"{role}.raw")))


@contextmanager
def _sampled(deployment: Deployment, folder: Path) -> Iterator[None]:
    assert deployment.server is not None
    pids = {"server": deployment.server.pid, "worker": deployment.workers[0].pid}
    spies = [_spy(pid, folder / f"{role}.raw") for role, pid in pids.items()]
    time.sleep(_START_S)
    yield
    for spy in spies:
        spy.send_signal(signal.SIGINT)
        spy.wait()


def _spy(pid: int, output: Path) -> subprocess.Popen[bytes]:
    options = ["--subprocesses", "--rate", str(_SAMPLES_PER_S), "--format", "raw"]
    command = [str(peer_python().with_name("py-spy")), "record", "--pid", str(pid), *options]
    quiet = subprocess.DEVNULL
    return subprocess.Popen([*command, "--output", str(output)], stdout=quiet, stderr=quiet)


def _shares(role: str, samples: Path) -> Iterator[str]:
    counted: Counter[str] = Counter()
    for line in samples.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if not _is_waiting(frames[-1]):
            counted[_our_file(frames)] += int(count)
    total = counted.total()
    yield f"{role}: {total / _SAMPLES_PER_S:.1f} s of samples"
    for name, count in counted.most_common(_SHOWN):
        yield f"  {count / total * 100:5.1f} %  {name}"


def _is_waiting(frame: str) -> bool:
    function = frame.partition(" ")[0].rpartition(".")[2]
    return function.startswith(_WAITING)


def _our_file(frames: list[str]) -> str:
    for frame in reversed(frames):
        path = frame.rpartition("(")[2].partition(":")[0]
        places = [path.rfind(folder) for folder in _OUR_FOLDERS]
        if max(places) >= 0 and "site-packages" not in path:
            return path[max(places) :]
    return "other"


if __name__ == "__main__":
    main()
