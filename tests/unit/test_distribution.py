"""What ``make dist`` makes: a wheel that needs no clone, and the version in one place."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
VERSION: str = PROJECT["version"]
PACKAGES = ["server", "worker", "shared", "feedmill"]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    return folder


@pytest.fixture(scope="module")
def packed(dist: Path) -> set[str]:
    with zipfile.ZipFile(dist / f"feedmill-{VERSION}-py3-none-any.whl") as wheel:
        return set(wheel.namelist())


def test_wheel_has_every_file_of_the_packages(packed: set[str]) -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {Path(name).suffix for name in files} >= {".py", ".lua", ".html", ".css", ".js"}
    assert files <= packed


def test_wheel_has_no_tests_and_no_settings(packed: set[str]) -> None:
    tops = {name.split("/")[0] for name in packed}
    assert tops == {*PACKAGES, f"feedmill-{VERSION}.dist-info"}
    assert not [name for name in packed if name.endswith(".env")]


def test_wheel_names_its_version_its_license_and_the_embedded_extra(dist: Path) -> None:
    with zipfile.ZipFile(dist / f"feedmill-{VERSION}-py3-none-any.whl") as wheel:
        metadata = Parser().parsestr(
            wheel.read(f"feedmill-{VERSION}.dist-info/METADATA").decode("utf-8")
        )
    assert metadata["Version"] == VERSION
    assert metadata["License-Expression"] == "MIT"
    assert metadata.get_all("Provides-Extra") == ["embedded"]


def test_source_archive_can_be_tested_and_built(dist: Path) -> None:
    with tarfile.open(dist / f"feedmill-{VERSION}.tar.gz") as archive:
        names = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    wanted = {"pyproject.toml", "constraints.txt", "Makefile", "tests", "docs", *PACKAGES}
    assert wanted <= names
    assert not {".git", ".venv", ".env", "data", "dist", ".cache"} & names


def test_version_is_written_in_one_place() -> None:
    written = f'"{VERSION}"'
    modules = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert [path.name for path in modules if written in path.read_text("utf-8")] == []


def test_pages_name_the_wheel_and_the_tag_of_this_version() -> None:
    text = (ROOT / "docs" / "install.md").read_text("utf-8")
    named = set(re.findall(r"(?:feedmill[-:]|`v)(\d+\.\d+\.\d+)", text))
    assert named == {VERSION}
