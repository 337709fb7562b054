"""The units in deploy/systemd: names, time to stop, confinement; by systemd itself where it is."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from server.commands.roles import ROLE_GRACE_S
from shared.embedded.watched import STOP_GRACE_S
from shared.last_resort import STOP_AT_WORST_S
from shared.settings import Settings

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
ROLES = {
    "feedmill.service": "up",
    "feedmill-server.service": "server",
    "feedmill-worker@.service": "worker",
}
# Of systemd's scale: 0 is confined in every way, 10 not at all. A service that talks to the
# network and has sockets of its own cannot get much lower.
MOST_EXPOSED = 2.0


def read(name: str) -> dict[str, list[str]]:
    """Return what a unit sets; a name may come several times."""
    found: dict[str, list[str]] = {}
    for line in (FOLDER / name).read_text("utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


def test_every_unit_is_known() -> None:
    assert {path.name for path in FOLDER.iterdir()} == ROLES.keys()


@pytest.mark.parametrize(("name", "role"), ROLES.items())
def test_unit_runs_its_role_and_starts_it_again(name: str, role: str) -> None:
    unit = read(name)
    assert unit["ExecStart"] == [f"/opt/feedmill/bin/feedmill {role}"]
    assert unit["Restart"] == ["always"]
    # A wrong setting ends with 2, by every role.
    assert unit["RestartPreventExitStatus"] == ["2"]
    assert unit["WantedBy"] == ["multi-user.target"]


@pytest.mark.parametrize("name", ROLES)
def test_unit_sets_only_settings(name: str) -> None:
    [line] = read(name)["Environment"]
    set_here = dict(each.split("=", 1) for each in line.split())
    assert set_here.keys() - {"PYTHONUNBUFFERED"} <= {
        each.upper() for each in Settings.model_fields
    }
    assert set_here["DATA_DIR"] == "/var/lib/" + read(name)["StateDirectory"][0]
    assert read(name)["EnvironmentFile"][0] == "-/etc/feedmill/feedmill.env"


@pytest.mark.parametrize("name", ROLES)
def test_unit_asks_the_first_process_alone_and_gives_it_time(name: str) -> None:
    unit = read(name)
    assert unit["KillMode"] == ["mixed"]
    longest_s = max(10, STOP_AT_WORST_S)
    if ROLES[name] == "up":
        longest_s = 2 * ROLE_GRACE_S + 2 * STOP_GRACE_S
    assert int(unit["TimeoutStopSec"][0]) > longest_s


@pytest.mark.parametrize("name", ROLES)
def test_unit_runs_as_nobody_special_and_writes_its_own_folder_alone(name: str) -> None:
    unit = read(name)
    assert unit["DynamicUser"] == ["yes"]
    assert unit["NoNewPrivileges"] == ["yes"]
    assert unit["CapabilityBoundingSet"] == [""]
    assert unit["ProtectSystem"] == ["strict"]
    assert "ReadWritePaths" not in unit


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
@pytest.mark.parametrize("name", ROLES)
def test_systemd_takes_the_unit_and_finds_it_confined(name: str, tmp_path: Path) -> None:
    # It wants to see the program that is run, and an instance of a template.
    unit = tmp_path / name.replace("@.", "@1.")
    text = (FOLDER / name).read_text("utf-8")
    (tmp_path / name).write_text(text.replace("/opt/feedmill/bin/feedmill", "/bin/true"))
    unit.write_text((tmp_path / name).read_text())
    verified = _analyze("verify", "--man=no", str(unit))
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    judged = _analyze("security", "--offline=yes", "--no-pager", str(unit))
    found = re.search(r"exposure level for \S+: ([\d.]+)", judged.stdout)
    assert found is not None, judged.stderr
    assert float(found[1]) <= MOST_EXPOSED


def _analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
