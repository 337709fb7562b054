"""What is shipped around the code: compose file, image, pinned versions, make targets."""

import json
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


def services_of(profile: str) -> list[str]:
    return [name for name, each in SERVICES.items() if profile in each.get("profiles", ())]


def project_name(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement)[0].lower().replace("_", "-")


def test_what_is_published_is_so_to_this_machine_alone() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "server": ["127.0.0.1:8000:8000"],
        "prometheus": ["127.0.0.1:9090:9090"],
        "grafana": ["127.0.0.1:3001:3000"],
        "bullboard": ["127.0.0.1:3000:3000"],
    }
    assert {name for name in published if "profiles" not in SERVICES[name]} == {"server"}


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
    for variable in re.findall(r"\$.*", (ROOT / "docker-compose.yml").read_text("utf-8")):
        assert re.match(r"\$\{[A-Z_]+:-\w*\}", variable), f"{variable} has no default"


def test_compose_services_that_are_built_share_no_image_tag() -> None:
    # Built side by side: of two that tag the same image the second fails.
    tags = [each.get("image", name) for name, each in SERVICES.items() if "build" in each]
    assert len(tags) == len(ROLES) + 2
    assert len(set(tags)) == len(tags)


@pytest.mark.parametrize("role", ["worker", "worker-light"])
def test_compose_worker_can_be_scaled(role: str) -> None:
    assert not {"container_name", "ports", "hostname"} & SERVICES[role].keys()


def test_compose_server_is_open_inside_its_container_only() -> None:
    environment = SERVICES["server"]["environment"]
    assert environment["HOST"] == "0.0.0.0"
    assert environment["ALLOW_UNAUTHENTICATED"] == "true"


def test_compose_server_answers_to_its_name_there_and_those_that_are_set() -> None:
    hosts = SERVICES["server"]["environment"]["ALLOWED_HOSTS"]
    assert hosts.split(",") == ["server", "${ALLOWED_HOSTS:-}"]


def test_compose_has_item_classes_under_a_profile() -> None:
    assert services_of("classes") == ["worker-light", "worker-heavy"]
    classes = {name: SERVICES[name] for name in services_of("classes")}
    limits = {name: each["deploy"]["resources"]["limits"] for name, each in classes.items()}
    assert limits == {"worker-light": {"memory": "512M"}, "worker-heavy": {"memory": "8G"}}
    assert classes["worker-light"]["deploy"]["replicas"] > 1
    types = {name: each["environment"]["WORKER_TYPE"] for name, each in classes.items()}
    assert types == {"worker-light": "light", "worker-heavy": "heavy"}


def test_compose_works_an_app_without_a_mongodb_under_a_profile_of_its_own() -> None:
    [name] = services_of("app")
    service = SERVICES[name]
    assert service["environment"]["FEEDMILL_APP"] == "${FEEDMILL_APP:-}"
    assert service["environment"]["MONGODB_URL"] == ""
    assert set(service["depends_on"]) == {"redis"}
    assert service["volumes"] == [f"./app:{service['working_dir']}:ro"]
    # .env is read by all roles; the others have no such modules.
    others = [each for each in ROLES if each.startswith("worker")]
    assert {SERVICES[each]["environment"]["FEEDMILL_APP"] for each in others} == {""}


def test_compose_has_monitoring_and_bull_board_under_profiles_of_their_own() -> None:
    assert services_of("monitoring") == ["prometheus", "grafana"]
    assert services_of("bullboard") == ["bullboard"]
    profiles = [profile for each in SERVICES.values() for profile in each.get("profiles", ())]
    assert set(profiles) == {"classes", "app", "monitoring", "bullboard"}


def test_compose_uses_images_of_pinned_versions() -> None:
    foreign = [each["image"] for each in SERVICES.values() if "build" not in each]
    assert len(foreign) == 4
    for image in foreign:
        assert re.fullmatch(r"[a-z/]+:v?\d[\w.-]*", image), image
    dockerfile = (ROOT / "monitoring" / "bullboard" / "Dockerfile").read_text("utf-8")
    assert re.search(r"^FROM node:\d+-alpine$", dockerfile, re.MULTILINE)


def test_grafana_lets_nobody_in_without_a_password() -> None:
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "false"
    assert environment["GF_USERS_ALLOW_SIGN_UP"] == "false"
    assert environment["GF_SECURITY_ADMIN_PASSWORD"].startswith("${GRAFANA_PASSWORD:-")


def test_env_example_documents_what_compose_alone_reads() -> None:
    compose = (ROOT / "docker-compose.yml").read_text("utf-8")
    example = (ROOT / ".env.example").read_text("utf-8")
    read = dict(re.findall(r"\$\{([A-Z_]+):-(\w*)\}", compose))
    documented = dict(re.findall(r"^#([A-Z_]+)=(.*)$", example, re.MULTILINE))
    assert {name: documented.get(name) for name in read} == read
    assert "GRAFANA_PASSWORD" in read


def test_bull_board_gets_the_queues_names_and_no_secrets() -> None:
    assert "env_file" not in SERVICES["bullboard"]
    assert SERVICES["bullboard"]["environment"].keys() == {
        "REDIS_URL",
        "BULL_QUEUE_NAME",
        "QUEUE_PREFIX",
        "HOST",
    }


def test_bull_board_has_pinned_packages_and_the_bullmq_that_is_tested() -> None:
    pinned = json.loads((ROOT / "monitoring/bullboard/package.json").read_text())["dependencies"]
    tested = json.loads((ROOT / "tests/interop/package.json").read_text())["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in pinned.values())
    assert pinned.items() >= tested.items()


def test_compose_networks_and_volumes_are_declared() -> None:
    named = {name for each in SERVICES.values() for name in each["networks"]}
    assert named - {"default"} == COMPOSE["networks"].keys()
    mounted = {each.split(":")[0] for one in SERVICES.values() for each in one.get("volumes", ())}
    assert {name for name in mounted if not name.startswith(".")} == COMPOSE["volumes"].keys()


def test_image_runs_as_nobody_special_and_from_pinned_versions() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    assert re.search(r"^USER feedmill$", dockerfile, re.MULTILINE)
    assert "-c constraints.txt" in dockerfile
    assert "embedded]" not in dockerfile


def test_image_is_labelled_with_the_version_of_the_package() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    assert f"ARG VERSION={PROJECT['project']['version']}\n" in dockerfile
    assert 'org.opencontainers.image.version="$VERSION"' in dockerfile


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


@pytest.mark.parametrize(
    "target", ["run", "install", "test", "check", "chaos", "dist", "manifests", "lint", "format"]
)
def test_makefile_has_the_target(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
