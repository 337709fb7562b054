"""What is shipped around the code: compose file, image, pinned versions, make targets."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
ROLES = ["server", "worker", "worker-light", "worker-heavy"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text("utf-8")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def project_name(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement)[0].lower().replace("_", "-")


def test_only_the_server_is_published_and_to_this_machine_alone() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"server": ["127.0.0.1:8000:8000"]}


def test_compose_redis_keeps_a_file_and_evicts_nothing() -> None:
    redis = SERVICES["redis"]
    command = " ".join(redis["command"])
    assert redis["image"] == "redis:7-alpine"
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert redis["volumes"] == ["redis-data:/data"]


def test_compose_mongodb_keeps_its_data() -> None:
    assert SERVICES["mongodb"]["image"] == "mongo:7"
    assert SERVICES["mongodb"]["volumes"] == ["mongodb-data:/data/db"]


@pytest.mark.parametrize("role", ROLES)
def test_compose_role_waits_for_healthy_stores_and_has_time_to_stop(role: str) -> None:
    service = SERVICES[role]
    assert {name: each["condition"] for name, each in service["depends_on"].items()} == {
        "redis": "service_healthy",
        "mongodb": "service_healthy",
    }
    assert int(service["stop_grace_period"].removesuffix("s")) > 10
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["environment"]["REDIS_URL"].startswith("redis://redis:")
    assert service["environment"]["MONGODB_URL"].startswith("mongodb://mongodb:")


@pytest.mark.parametrize("role", ROLES)
def test_compose_works_without_an_env_file(role: str) -> None:
    assert SERVICES[role]["env_file"] == [{"path": ".env", "required": False}]
    assert "${" not in (ROOT / "docker-compose.yml").read_text("utf-8")


@pytest.mark.parametrize("role", ["worker", "worker-light"])
def test_compose_worker_can_be_scaled(role: str) -> None:
    assert not {"container_name", "ports", "hostname"} & SERVICES[role].keys()


def test_compose_server_is_open_inside_its_container_only() -> None:
    environment = SERVICES["server"]["environment"]
    assert environment["HOST"] == "0.0.0.0"
    assert environment["ALLOW_UNAUTHENTICATED"] == "true"


def test_compose_has_item_classes_under_a_profile() -> None:
    classes = {name: each for name, each in SERVICES.items() if "profiles" in each}
    assert {name: each["profiles"] for name, each in classes.items()} == {
        "worker-light": ["classes"],
        "worker-heavy": ["classes"],
    }
    limits = {name: each["deploy"]["resources"]["limits"] for name, each in classes.items()}
    assert limits == {"worker-light": {"memory": "512M"}, "worker-heavy": {"memory": "8G"}}
    assert classes["worker-light"]["deploy"]["replicas"] > 1
    types = {name: each["environment"]["WORKER_TYPE"] for name, each in classes.items()}
    assert types == {"worker-light": "light", "worker-heavy": "heavy"}


def test_image_runs_as_nobody_special_and_from_pinned_versions() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    assert re.search(r"^USER feedmill$", dockerfile, re.MULTILINE)
    assert "-c constraints.txt" in dockerfile
    assert "embedded]" not in dockerfile


def test_image_context_has_the_code_and_no_secrets() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert lines[0] == "*"
    copied = set(re.findall(r"^COPY (?!--)(.*) \S+$", (ROOT / "Dockerfile").read_text(), re.M))
    named = {name for group in copied for name in group.split()}
    assert {f"!{name}" for name in named} <= set(lines)


def test_files_of_the_dashboard_are_packed_and_not_ignored() -> None:
    packed = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    room = ROOT / "server" / "dashboard"
    files = [*(room / "static").rglob("*.*"), *(room / "templates").rglob("*.html")]
    assert "server" in packed
    assert {path.suffix for path in files} >= {".html", ".css", ".js", ".svg"}
    assert not {f"**/*{path.suffix}" for path in files} & set(ignored)


def test_every_direct_dependency_is_pinned() -> None:
    pinned = {project_name(line) for line in CONSTRAINTS.splitlines()}
    optional = PROJECT["project"]["optional-dependencies"].values()
    groups = [PROJECT["project"]["dependencies"], *optional, PROJECT["dependency-groups"]["dev"]]
    assert {project_name(each) for group in groups for each in group} <= pinned


def test_constraints_name_versions_and_no_places() -> None:
    for line in CONSTRAINTS.splitlines():
        assert re.fullmatch(r"[a-z0-9.-]+==[\w.+-]+( ; .*)?", line), line
        assert "/" not in line


@pytest.mark.parametrize("target", ["run", "install", "test", "check", "chaos", "lint", "format"])
def test_makefile_has_the_target(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
