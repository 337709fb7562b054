"""What is in deploy/kubernetes, as far as it can be known without Go: names, probes, numbers."""

import math
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from server.api.routes import ROUTERS
from server.api.workers_wanted import Load, count_workers_wanted
from shared.last_resort import STOP_AT_WORST_S
from shared.settings import Settings, load_settings
from tests.manifests.schemas import custom_schemas, kubernetes_schemas, make_strict
from tests.manifests.triggers import find_unknown_metadata

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
SETTINGS = {name.upper() for name in Settings.model_fields}
OVERLAYS = {"redis": "bull", "sentinel": "bull", "cluster": "{bull}"}
ROLES = ["server", "worker"]


def read_all(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text("utf-8")))


def read(path: str, kind: str) -> dict[str, Any]:
    [found] = [each for each in read_all(FOLDER / path) if each["kind"] == kind]
    return found


def pod_of(role: str) -> dict[str, Any]:
    pod: dict[str, Any] = read(f"base/{role}.yaml", "Deployment")["spec"]["template"]["spec"]
    return pod


def container_of(role: str) -> dict[str, Any]:
    [container] = pod_of(role)["containers"]
    return dict(container)


def shared_settings() -> dict[str, str]:
    lines = (FOLDER / "base" / "settings.env").read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def scaling_of(overlay: str) -> dict[str, Any]:
    """Return the spec of the scaled object as an overlay's patch leaves it."""
    spec: dict[str, Any] = read("components/scaling/scaled-object.yaml", "ScaledObject")["spec"]
    [operations] = read_all(FOLDER / "overlays" / overlay / "scaling.yaml")
    for each in operations:
        if each["path"] == "/spec/triggers/-":
            spec["triggers"].append(each["value"])
        else:
            assert each["path"] == "/spec/advanced/scalingModifiers/formula"
            spec["advanced"]["scalingModifiers"]["formula"] = each["value"]
    return spec


def secret_keys(part: Any) -> Iterator[str]:
    """Find every key of the secret that something refers to."""
    if isinstance(part, dict):
        if part.get("name") == "feedmill-secrets":
            yield part["key"]
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from secret_keys(each)


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_of_a_pod_is_a_setting(role: str) -> None:
    assert {each["name"] for each in container_of(role)["env"]} <= SETTINGS
    assert shared_settings().keys() <= SETTINGS


def test_every_key_of_the_secret_is_a_setting_and_is_in_the_docs() -> None:
    documents = [each for path in FOLDER.rglob("*.yaml") for each in read_all(path)]
    keys = set(secret_keys(documents))
    assert keys == {"REDIS_URL", "MONGODB_URL", "API_KEY", "API_READ_KEYS", "REDIS_PASSWORD"}
    assert keys <= SETTINGS


def test_shared_settings_are_accepted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    secrets = {"API_KEY": "k" * 32, "REDIS_URL": "redis://r", "MONGODB_URL": "mongodb://m"}
    for name, value in {**shared_settings(), **secrets}.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert (settings.host, settings.port, settings.metrics_port) == ("0.0.0.0", 8000, 9100)
    assert "feedmill-server.feedmill.svc" in settings.allowed_hosts


def test_manifests_use_no_anchors_which_older_tools_read_otherwise() -> None:
    for path in FOLDER.rglob("*.yaml"):
        tokens = yaml.scan(path.read_text("utf-8"))
        assert not [each for each in tokens if isinstance(each, yaml.AnchorToken | yaml.AliasToken)]


def test_no_secret_is_written_down() -> None:
    kinds = [
        each.get("kind")
        for path in FOLDER.rglob("*.yaml")
        for each in read_all(path)
        if isinstance(each, dict)
    ]
    assert "Secret" not in kinds
    assert not {"API_KEY", "REDIS_URL", "MONGODB_URL"} & shared_settings().keys()


def test_probes_ask_paths_and_ports_that_are_there() -> None:
    paths = {route.path for router in ROUTERS for route in router.routes}  # type: ignore[attr-defined]
    server, worker = container_of("server"), container_of("worker")
    assert server["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert server["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert {"/healthz", "/readyz"} <= paths
    for container, port in ((server, "PORT"), (worker, "METRICS_PORT")):
        [declared] = container["ports"]
        assert str(declared["containerPort"]) == shared_settings()[port]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["port"] == declared["name"]
    assert worker["livenessProbe"]["httpGet"]["path"] == "/metrics"


@pytest.mark.parametrize("role", ROLES)
def test_pods_have_time_to_stop(role: str) -> None:
    pod = pod_of(role)
    lifecycle = container_of(role).get("lifecycle", {"preStop": {"sleep": {"seconds": 0}}})
    before_s = lifecycle["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= before_s + max(10, STOP_AT_WORST_S) + 5


@pytest.mark.parametrize("role", ROLES)
def test_pods_are_confined(role: str) -> None:
    pod, container = pod_of(role), container_of(role)
    assert pod["securityContext"]["runAsNonRoot"] is True
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    assert f"--uid {pod['securityContext']['runAsUser']} " in dockerfile
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {each["mountPath"] for each in container["volumeMounts"]} == {
        "/tmp",
        "/var/lib/feedmill",
    }


@pytest.mark.parametrize("role", ROLES)
def test_services_of_the_namespace_set_no_variable_of_ours(role: str) -> None:
    # A Service "redis" would set REDIS_PORT=tcp://10.0.0.1:6379, and no role would start.
    assert pod_of(role)["enableServiceLinks"] is False


def test_worker_knows_no_api_key() -> None:
    assert {each["name"] for each in container_of("worker")["env"]} == {"REDIS_URL", "MONGODB_URL"}


@pytest.mark.parametrize("role", ROLES)
def test_image_has_the_version_of_the_package(role: str) -> None:
    [image] = read("base/kustomization.yaml", "Kustomization")["images"]
    assert container_of(role)["image"] == image["name"]
    assert image["newTag"] == VERSION


@pytest.mark.parametrize("role", ROLES)
def test_there_is_always_one_of_each_role(role: str) -> None:
    assert read(f"base/{role}.yaml", "Deployment")["spec"]["replicas"] > 1
    budget = read(f"base/{role}.yaml", "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_workers_are_never_scaled_to_none(overlay: str) -> None:
    spec = scaling_of(overlay)
    assert 1 <= spec["minReplicaCount"] < spec["maxReplicaCount"]
    assert "idleReplicaCount" not in spec
    assert spec["scaleTargetRef"]["name"] == "feedmill-worker"
    assert spec["fallback"]["replicas"] >= 1


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_waits_asks_for_no_more_workers_than_are_of_use(overlay: str) -> None:
    spec = scaling_of(overlay)
    formula = spec["advanced"]["scalingModifiers"]["formula"]
    assert formula.startswith("min(wanted_light + wanted_heavy - 1, ")
    names = {each["name"] for each in spec["triggers"]}
    assert names == {"wanted_light", "wanted_heavy", "waiting_light", "waiting_heavy"}
    assert all(name in formula for name in names)
    in_hand = Settings().worker_concurrency * Settings().worker_batch_size
    assert f"/ {in_hand})" in formula


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize(
    ("waiting", "limit_per_s", "workers"),
    [
        (0, 100.0, 1),
        # What the rate limit holds back is no work for more workers.
        (100_000, 100.0, 1),
        (100_000, 450.0, 5),
        (100_000, None, 17),
        # More than one worker has in hand, but done within the minute.
        (5_000, None, 1),
    ],
)
def test_formula_follows_what_is_of_use(
    overlay: str, waiting: int, limit_per_s: float | None, workers: int
) -> None:
    formula = scaling_of(overlay)["advanced"]["scalingModifiers"]["formula"]
    wanted = count_workers_wanted(Load(waiting, 1, limit_per_s), per_worker=100.0)
    values = {"wanted_light": wanted, "waiting_light": waiting}
    # KEDA's language and Python's read such a formula alike.
    asked = eval(formula, {"min": min}, {**values, "wanted_heavy": 1, "waiting_heavy": 0})
    assert math.ceil(asked) == workers


@pytest.mark.parametrize(("overlay", "prefix"), OVERLAYS.items())
def test_triggers_name_lists_that_the_queue_uses(overlay: str, prefix: str) -> None:
    by_name = {each["name"]: each["metadata"] for each in scaling_of(overlay)["triggers"]}
    queue = Settings().bull_queue_name
    assert by_name["waiting_light"]["listName"] == f"{prefix}:{queue}:wait"
    assert by_name["waiting_heavy"]["listName"] == f"{prefix}:{queue}_heavy:wait"
    light, heavy = by_name["wanted_light"], by_name["wanted_heavy"]
    assert light["valueLocation"] == f'feedmill_workers_wanted{{queue="{queue}"}}'
    assert heavy["valueLocation"] == f'feedmill_workers_wanted{{queue="{queue}_heavy"}}'


@pytest.mark.parametrize("trigger", [0, 1])
def test_keda_asks_the_server_by_a_name_that_it_answers_to(trigger: int) -> None:
    asked = scaling_of("redis")["triggers"][trigger]
    url = urlsplit(asked["metadata"]["url"])
    service = read("base/server.yaml", "Service")
    namespace = read("base/kustomization.yaml", "Kustomization")["namespace"]
    assert url.hostname == f"{service['metadata']['name']}.{namespace}.svc"
    assert url.hostname in shared_settings()["ALLOWED_HOSTS"].split(",")
    assert url.port == service["spec"]["ports"][0]["port"]
    assert url.path == "/metrics"


def test_cluster_has_a_prefix_whose_keys_share_a_slot() -> None:
    [generated] = read("overlays/cluster/kustomization.yaml", "Kustomization")["configMapGenerator"]
    assert generated["literals"] == ["QUEUE_PREFIX={bull}"]


def test_schema_refuses_a_misspelt_field_at_any_depth() -> None:
    inner = {"type": "object", "properties": {"b": {"type": "string"}}}
    strict = make_strict({"type": "object", "properties": {"a": {"type": "array", "items": inner}}})
    assert strict["additionalProperties"] is False
    assert strict["properties"]["a"]["items"]["additionalProperties"] is False


def test_schema_leaves_maps_and_unknown_content_open() -> None:
    labels = {"type": "object", "additionalProperties": {"type": "string"}}
    assert make_strict(labels) == labels
    kept = {"type": "object", "properties": {}, "x-kubernetes-preserve-unknown-fields": True}
    assert "additionalProperties" not in make_strict(kept)


def test_schema_takes_a_port_by_number_or_name() -> None:
    port = {"type": "string", "format": "int-or-string"}
    assert make_strict({"properties": {"port": port}})["properties"]["port"] == {
        "type": ["string", "number"]
    }


def test_schemas_are_named_as_they_are_asked_for_and_hold_what_they_refer_to() -> None:
    definitions: dict[str, Any] = {
        "Thing": {
            "properties": {"meta": {"$ref": "#/definitions/Meta"}},
            "x-kubernetes-group-version-kind": [
                {"group": "apps.example.io", "kind": "Thing", "version": "v1"}
            ],
        },
        "Meta": {"properties": {"self": {"$ref": "#/definitions/Meta"}}},
        "Other": {"type": "object"},
    }
    [(name, schema)] = kubernetes_schemas(definitions).items()
    assert name == "thing-apps-v1.json"
    assert schema["$ref"] == "#/definitions/Thing"
    assert schema["definitions"].keys() == {"Thing", "Meta"}


def test_custom_resources_have_the_metadata_that_kubernetes_knows() -> None:
    meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    version = {"properties": {"metadata": {"type": "object"}, "spec": {"type": "object"}}}
    resource = {
        "spec": {
            "group": "keda.sh",
            "names": {"kind": "ScaledObject"},
            "versions": [{"name": "v1alpha1", "schema": {"openAPIV3Schema": version}}],
        }
    }
    made = custom_schemas(resource, {meta: {"properties": {"name": {"type": "string"}}}})
    [(name, schema)] = made.items()
    assert name == "scaledobject-keda-v1alpha1.json"
    assert schema["properties"]["metadata"] == {"$ref": f"#/definitions/{meta}"}


def test_unknown_metadata_of_a_trigger_is_found() -> None:
    scalers = [{"type": "redis", "parameters": [{"name": "listName"}, {"name": "address"}]}]
    triggers = [
        {"type": "redis", "metadata": {"listName": "a", "addressFromEnv": "REDIS"}},
        {"type": "redis", "metadata": {"listname": "a"}},
        {"type": "reddis", "metadata": {}},
    ]
    assert list(find_unknown_metadata({"spec": {"triggers": triggers}}, scalers)) == [
        "the scaler 'redis' has no parameter 'listname'",
        "KEDA has no scaler 'reddis'",
    ]
