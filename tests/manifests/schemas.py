"""Strict JSON Schemas of Kubernetes' and operators' objects: unknown fields are refused. Pure.

Made from Kubernetes' ``swagger.json`` and from custom resource definitions. Both describe what
a field holds, but neither forbids others, so that a misspelt one would pass.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Schema = dict[str, Any]
OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_REFERENCE = "#/definitions/"
# What JSON Schema would read otherwise: the one means a port or its name, the other 500m or 2.
_EITHER: Schema = {"type": ["string", "number"]}
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_OPEN = "x-kubernetes-preserve-unknown-fields"
# Keywords that hold schemas by name, and those that hold one.
_NAMED, _SINGLE = ("properties", "patternProperties"), ("items", "additionalProperties", "not")


def kubernetes_schemas(definitions: Mapping[str, Schema]) -> dict[str, Schema]:
    """Return a schema for each kind of Kubernetes' own, by the name of its file."""
    return {
        file_name(kind["kind"], kind["group"], kind["version"]): _whole(name, definitions)
        for name, definition in definitions.items()
        for kind in _kinds_of(definition)
    }


def custom_schemas(
    resource: Mapping[str, Any], definitions: Mapping[str, Schema]
) -> dict[str, Schema]:
    """Return a schema for each version of a custom resource definition, by the name of its file."""
    spec = resource["spec"]
    return {
        file_name(spec["names"]["kind"], spec["group"], version["name"]): _custom(
            version["schema"]["openAPIV3Schema"], definitions
        )
        for version in spec["versions"]
    }


def file_name(kind: str, group: str, version: str) -> str:
    """Return what kubeconform asks for as ``{{.ResourceKind}}{{.KindSuffix}}.json``."""
    parts = [kind, group.split(".")[0], version]
    return "-".join(part for part in parts if part).lower() + ".json"


def make_strict(schema: Schema) -> Schema:
    """Return a schema that refuses properties it does not name, at every depth."""
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        return dict(_EITHER)
    strict = {key: _strict_part(key, part) for key, part in schema.items()}
    is_closed = "properties" in schema and "additionalProperties" not in schema
    if is_closed and not schema.get(_OPEN):
        strict["additionalProperties"] = False
    return strict


def _strict_part(key: str, part: Any) -> Any:
    if key in _NAMED:
        return {name: make_strict(each) for name, each in part.items()}
    if key in _SINGLE and isinstance(part, dict):
        return make_strict(part)
    # In the branches of a definition that names its properties beside them, closing would refuse
    # each other's.
    return part


def _kinds_of(definition: Schema) -> list[dict[str, str]]:
    kinds: list[dict[str, str]] = definition.get("x-kubernetes-group-version-kind", [])
    # One that is of many groups is an option of a call, no object.
    return kinds if len(kinds) == 1 else []


def _whole(name: str, definitions: Mapping[str, Schema]) -> Schema:
    """Return a definition with all that it leads to."""
    return {"$ref": _REFERENCE + name, "definitions": _closure({name}, definitions)}


def _custom(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    strict = make_strict(schema)
    properties = {
        **strict["properties"],
        # Operators say "object" alone; the API server knows what it holds.
        "metadata": {"$ref": _REFERENCE + OBJECT_META},
    }
    return {
        **strict,
        "properties": properties,
        "definitions": _closure({OBJECT_META}, definitions),
    }


def _closure(names: set[str], definitions: Mapping[str, Schema]) -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    waiting = sorted(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = _definition(name, definitions)
            waiting.extend(_references(definitions[name]))
    return found


def _definition(name: str, definitions: Mapping[str, Schema]) -> Schema:
    return dict(_EITHER) if name == _QUANTITY else make_strict(definitions[name])


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        reference = part.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix(_REFERENCE)
        for each in part.values():
            yield from _references(each)
    elif isinstance(part, list):
        for each in part:
            yield from _references(each)
