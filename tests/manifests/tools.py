"""The programs and definitions that manifests are checked with, built and fetched as Go modules."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.manifests.schemas import Schema, custom_schemas, kubernetes_schemas

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "manifests"
KUSTOMIZE = ("sigs.k8s.io/kustomize/kustomize/v5", "v5.8.1")
KUBECONFORM = ("github.com/yannh/kubeconform/cmd/kubeconform", "v0.8.0")
KUBERNETES = ("k8s.io/kubernetes", "v1.36.3")
KEDA = ("github.com/kedacore/keda/v2", "v2.21.0")
PROMETHEUS_OPERATOR = ("github.com/prometheus-operator/prometheus-operator", "v0.85.0")
# Of each operator, where its module keeps the custom resource definitions in use here.
CUSTOM = {
    KEDA: "config/crd/bases/keda.sh_*.yaml",
    PROMETHEUS_OPERATOR: "example/prometheus-operator-crd/*_podmonitors.yaml",
}


def build(module: tuple[str, str]) -> Path:
    """Return the path of a module's program, built at the first call."""
    path, version = module
    name = path.removesuffix("/v5").rsplit("/", 1)[-1]
    folder = CACHE / f"{name}-{version}"
    program = folder / name
    if not program.exists():
        print(f"building {name} {version}: a minute or two, once", flush=True)
        environment = {**os.environ, "GOBIN": str(folder)}
        command = ["go", "install", f"{path}@{version}"]
        subprocess.run(command, cwd="/", env=environment, check=True)
    return program


def fetch(module: tuple[str, str]) -> Path:
    """Return the folder of a module's files, in Go's cache."""
    command = ["go", "mod", "download", "-json", "@".join(module)]
    found = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True)
    return Path(json.loads(found.stdout)["Dir"])


def write_schemas() -> Path:
    """Return the folder of the schemas, made at the first call with these versions."""
    versions = "-".join(version for _, version in (KUBERNETES, *CUSTOM))
    folder = CACHE / f"schemas-{versions}"
    if not (folder / "complete").exists():
        print(f"making schemas of Kubernetes {KUBERNETES[1]} and {len(CUSTOM)} operators")
        folder.mkdir(parents=True, exist_ok=True)
        for name, schema in _schemas():
            (folder / name).write_text(json.dumps(schema), "utf-8")
        (folder / "complete").touch()
    return folder


def read_scalers() -> list[dict[str, Any]]:
    """Return KEDA's scalers, with the parameters that the metadata of each may name."""
    path = fetch(KEDA) / "schema" / "generated" / "scalers-schema.json"
    scalers: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["scalers"]
    return scalers


def _schemas() -> Iterator[tuple[str, Schema]]:
    swagger = fetch(KUBERNETES) / "api" / "openapi-spec" / "swagger.json"
    definitions: dict[str, Schema] = json.loads(swagger.read_text("utf-8"))["definitions"]
    yield from kubernetes_schemas(definitions).items()
    for module, pattern in CUSTOM.items():
        for path in sorted(fetch(module).glob(pattern)):
            resource = yaml.safe_load(path.read_text("utf-8"))
            yield from custom_schemas(resource, definitions).items()
