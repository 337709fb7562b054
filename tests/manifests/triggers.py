"""KEDA's triggers: their metadata is any text by any name to the schema. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# What KEDA takes for a parameter from the environment of the pods.
_FROM_ENVIRONMENT = "FromEnv"


def find_unknown_metadata(
    scaled_object: Mapping[str, Any], scalers: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Compare each trigger with KEDA's scalers; the answers are what KEDA would not know."""
    known = {
        scaler["type"]: {parameter["name"] for parameter in scaler["parameters"]}
        for scaler in scalers
    }
    for trigger in scaled_object["spec"]["triggers"]:
        yield from _find_unknown(trigger, known)


def _find_unknown(trigger: Mapping[str, Any], known: Mapping[str, set[str]]) -> Iterator[str]:
    kind = trigger["type"]
    if kind not in known:
        yield f"KEDA has no scaler {kind!r}"
        return
    for name in trigger["metadata"]:
        if name.removesuffix(_FROM_ENVIRONMENT) not in known[kind]:
            yield f"the scaler {kind!r} has no parameter {name!r}"
