"""Builds FerretDB, an independent server of MongoDB's protocol, and runs the tests on it.

``python -m tests.ferretdb [PYTEST OPTION ...]``, or ``make test-ferretdb``. Needs Go; what is built
stays in ``.cache/ferretdb``. Tests that need what FerretDB lacks skip (``mongodb_features.py``).
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.servers import start_ferretdb

MODULE, VERSION = "github.com/FerretDB/FerretDB", "v1.24.2"
CACHE = Path(__file__).resolve().parent.parent / ".cache" / "ferretdb"
TESTS = ["-q", "-n", "2", "-m", "mongodb", "tests/integration"]


def main() -> int:
    """Build, start, test; return pytest's exit code, or 2 where it cannot be built."""
    if shutil.which("go") is None:
        print("FerretDB is built with Go, which is not installed: https://go.dev/dl/")
        return 2
    program = build()
    with tempfile.TemporaryDirectory(prefix="feedmill-ferretdb-") as folder:
        server = start_ferretdb(program, Path(folder))
        try:
            return run_tests(server.url, sys.argv[1:] or TESTS)
        finally:
            server.stop()


def run_tests(url: str, options: list[str]) -> int:
    """Run pytest on the server at a URL."""
    command = [sys.executable, "-m", "pytest", *options]
    return subprocess.run(
        command, env={**os.environ, "TEST_MONGODB_URL": url}, check=False
    ).returncode


def build() -> Path:
    """Return the path of FerretDB's program, built at the first call."""
    program = CACHE / VERSION / "ferretdb"
    if not program.exists():
        print(f"building FerretDB {VERSION}: a few minutes, once")
        with tempfile.TemporaryDirectory(prefix="feedmill-ferretdb-") as folder:
            source = copy_module(Path(folder) / "source")
            command = ["go", "build", "-o", str(program), "./cmd/ferretdb"]
            subprocess.run(command, cwd=source, check=True)
    return program


def copy_module(folder: Path) -> Path:
    """Copy the module out of Go's cache and add the version files that a release would have."""
    command = ["go", "mod", "download", "-json", f"{MODULE}@{VERSION}"]
    found = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True)
    shutil.copytree(json.loads(found.stdout)["Dir"], folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)
    versions = folder / "build" / "version"
    for name in ("commit", "branch", "package"):
        (versions / f"{name}.txt").write_text("unknown\n")
    (versions / "version.txt").write_text(f"{VERSION}\n")
    return folder


if __name__ == "__main__":
    sys.exit(main())
