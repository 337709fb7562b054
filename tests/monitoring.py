"""What the dashboard and the alerts ask Prometheus for, and what our processes answer."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml
from prometheus_client.parser import text_string_to_metric_families

FOLDER = Path(__file__).parents[1] / "monitoring"
# Added by Prometheus to everything it scrapes.
TARGET_LABELS = frozenset({"job", "instance"})
# Made by Prometheus itself.
OWN_METRICS = frozenset({"up"})
_VARIABLES = {"$__rate_interval": "5m", "$queue": ".+"}


@dataclass(frozen=True, slots=True)
class Selector:
    """One metric that an expression asks for; ``equal`` holds the labels that must be just so."""

    name: str
    labels: frozenset[str]
    equal: Mapping[str, str]


def read_dashboard() -> dict[str, Any]:
    dashboard: dict[str, Any] = json.loads(
        (FOLDER / "grafana" / "dashboards" / "feedmill.json").read_text("utf-8")
    )
    return dashboard


def read_yaml(path: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((FOLDER / path).read_text("utf-8"))
    return document


def read_alerts() -> list[dict[str, Any]]:
    groups = read_yaml("prometheus/alerts.yml")["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> dict[str, str]:
    """Return all expressions, by where they stand, Grafana's variables filled in."""
    found = {f"alert {rule['alert']}": rule["expr"] for rule in read_alerts()}
    for panel in read_dashboard()["panels"]:
        for target in panel.get("targets", ()):
            found[f"panel {panel['title']} {target['refId']}"] = target["expr"]
    return {place: _fill_in(expr) for place, expr in found.items()}


def selectors(expr: str) -> list[Selector]:
    """Return the metrics that an expression asks for; ValueError when it is none."""
    found: list[Selector] = []

    def visit(node: object) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            matchers = node.matchers.matchers
            equal = {m.name: m.value for m in matchers if m.op == promql_parser.MatchOp.Equal}
            found.append(Selector(node.name, frozenset(m.name for m in matchers), equal))

    promql_parser.walk(promql_parser.parse(expr), visit)
    return found


def scraped(*texts: str) -> dict[str, list[dict[str, str]]]:
    """Return the labels of all samples that were scraped, by the sample's name."""
    samples: dict[str, list[dict[str, str]]] = defaultdict(list)
    for text in texts:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples[sample.name].append(dict(sample.labels))
    return samples


def unanswered(expr: str, samples: Mapping[str, list[dict[str, str]]]) -> Iterator[str]:
    """Yield what an expression asks for and no sample has."""
    for asked in selectors(expr):
        if asked.name in OWN_METRICS:
            continue
        own = {name: value for name, value in asked.equal.items() if name not in TARGET_LABELS}
        fitting = [
            labels
            for labels in samples.get(asked.name, ())
            if asked.labels <= labels.keys() | TARGET_LABELS and own.items() <= labels.items()
        ]
        if not fitting:
            yield f"{asked.name} {sorted(asked.labels)} {own}"


def _fill_in(expr: str) -> str:
    for variable, value in _VARIABLES.items():
        expr = expr.replace(variable, value)
    return expr
