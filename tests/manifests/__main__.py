"""Builds what is in deploy/kubernetes and checks it by schema: ``make manifests``. Needs Go.

What is checked: each field by strict schemas of Kubernetes and the operators, the metadata of
KEDA's triggers by KEDA's own list, and that these checks refuse misspelt fields. Not checked is
what only a cluster can show.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.manifests import tools
from tests.manifests.triggers import find_unknown_metadata

KUBERNETES = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
PLAIN = ("base", "overlays/redis", "overlays/sentinel", "overlays/cluster")
EVERY_PART = """
resources: [{base}]
components: [{components}/scaling, {components}/pod-monitor]
"""
# Fields as they are written, and misspelt ones that must be refused in their place.
MISSPELT = {
    "readOnlyRootFilesystem": "readOnlyRootFileSystem",
    "secretKeyRef": "secretKeyref",
    "maxUnavailable": "maxUnavailible",
    "namespaceSelector": "nameSpaceSelector",
    "minReplicaCount": "minReplicasCount",
    "scalingModifiers": "scalingModifier",
    "podMetricsEndpoints": "podMetricEndpoints",
    "enableServiceLinks": "enableServicelinks",
}


def main() -> int:
    """Check all; return 1 when something is wrong, 2 where nothing can be checked."""
    if shutil.which("go") is None:
        print("The tools are built with Go, which is not installed: https://go.dev/dl/")
        return 2
    built = {name: build(name) for name in (*PLAIN, "every part")}
    faults = [fault for name, text in built.items() for fault in check(name, text)]
    faults += find_what_is_let_through(built["every part"])
    for fault in faults:
        print(f"fault: {fault}")
    print(f"{len(built)} variants, {len(MISSPELT)} misspelt fields, {len(faults)} faults")
    return 1 if faults else 0


def build(name: str) -> str:
    """Return one variant as it would be applied."""
    folder = _write_every_part() if name == "every part" else KUBERNETES / name
    command = [str(tools.build(tools.KUSTOMIZE)), "build", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def check(name: str, text: str) -> Iterator[str]:
    """Check one variant by schema, and its triggers; the answers are its faults."""
    done = run_kubeconform(text)
    print(f"{name}: {done.stdout.strip().splitlines()[-1]}")
    if done.returncode:
        yield f"{name}: {done.stdout.strip()}{done.stderr.strip()}"
    scaled = [each for each in read_documents(text) if each["kind"] == "ScaledObject"]
    for each in scaled:
        for unknown in find_unknown_metadata(each, tools.read_scalers()):
            yield f"{name}: {unknown}"


def find_what_is_let_through(text: str) -> Iterator[str]:
    """Misspell one field at a time; the answers are those that were not noticed."""
    for field, misspelt in MISSPELT.items():
        wrong = text.replace(f"{field}:", f"{misspelt}:", 1)
        if wrong == text:
            yield f"{field} is in no manifest, so that its misspelling proves nothing"
        elif run_kubeconform(wrong).returncode == 0:
            yield f"{misspelt}, misspelt for {field}, is let through"


def run_kubeconform(text: str) -> "subprocess.CompletedProcess[str]":
    """Check documents by the strict schemas; the exit code is 0 when all are valid."""
    location = f"{tools.write_schemas()}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    program = str(tools.build(tools.KUBECONFORM))
    command = [program, "-strict", "-summary", "-schema-location", location, "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def read_documents(text: str) -> list[Mapping[str, Any]]:
    """Return the objects of a variant."""
    return list(yaml.safe_load_all(text))


def _write_every_part() -> Path:
    folder = tools.CACHE / "every-part"
    folder.mkdir(parents=True, exist_ok=True)
    up = "../../../deploy/kubernetes"
    text = EVERY_PART.format(base=f"{up}/base", components=f"{up}/components")
    (folder / "kustomization.yaml").write_text(text, "utf-8")
    return folder


if __name__ == "__main__":
    sys.exit(main())
