"""A service that answers from a script, and the command line that is typed against it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stub_service import StubService, serve_stub
from tests.typed import Run, make_run


@pytest.fixture
def service() -> Iterator[StubService]:
    with serve_stub() as stub:
        yield stub


@pytest.fixture
def feedmill(
    service: StubService,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Run:
    """Type a command against the service, at noon."""
    return make_run(service, monkeypatch, capsys, tmp_path)
