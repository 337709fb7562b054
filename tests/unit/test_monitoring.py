"""The dashboard, the alerts and the configuration around them: whole, and true to one another."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring import (
    OWN_METRICS,
    expressions,
    read_alerts,
    read_dashboard,
    read_yaml,
    selectors,
)

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))[
    "services"
]
ALERTS = {rule["alert"]: rule for rule in read_alerts()}
EXPRESSIONS = expressions()
PANELS: list[dict[str, Any]] = read_dashboard()["panels"]
PROMETHEUS = read_yaml("prometheus/prometheus.yml")


@pytest.mark.parametrize("place", EXPRESSIONS)
def test_expression_parses_and_asks_for_named_metrics(place: str) -> None:
    asked = selectors(EXPRESSIONS[place])
    assert asked
    assert all(re.fullmatch(r"(feedmill|bullmq|process)_[a-z_]+|up", one.name) for one in asked)


@pytest.mark.parametrize("broken", ["sum(x", 'x{a="b}', "rate(x)[5m]", "x ==="])
def test_broken_expressions_are_noticed(broken: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        selectors(broken)


def test_jobs_that_are_asked_for_are_scraped() -> None:
    scraped = {config["job_name"] for config in PROMETHEUS["scrape_configs"]}
    asked = {
        one.equal["job"]
        for expr in EXPRESSIONS.values()
        for one in selectors(expr)
        if one.name in OWN_METRICS
    }
    assert asked == {"feedmill-server", "feedmill-worker"}
    assert asked <= scraped


@pytest.mark.parametrize("name", ALERTS)
def test_alert_says_what_happened_and_where_to_read_on(name: str) -> None:
    alert = ALERTS[name]
    notes = alert["annotations"]
    assert notes["summary"]
    assert len(notes["description"]) > len(notes["summary"])
    assert notes["runbook_url"] == f"docs/operating.md#{name.lower()}"
    assert alert["labels"]["severity"] in ("warning", "critical")


def test_every_trouble_that_operators_asked_for_has_an_alert() -> None:
    assert {
        "FeedmillQueueStuck",
        "FeedmillDeadLettersGrowing",
        "FeedmillFeedSilent",
        "FeedmillBreakerOpen",
        "FeedmillRedisDown",
        "FeedmillMongodbDown",
        "FeedmillServerDown",
        "FeedmillNoWorker",
    } <= ALERTS.keys()


def test_panels_have_ids_of_their_own_and_explain_themselves() -> None:
    ids = [panel["id"] for panel in PANELS]
    assert len(ids) == len(set(ids)) > 20
    for panel in PANELS:
        if panel["type"] != "row":
            assert panel["title"], panel["id"]
            assert panel["description"], panel["title"]
            assert panel["targets"], panel["title"]


def test_panels_do_not_lie_upon_one_another() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in PANELS:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, (panel["title"], taken[x, y])
                taken[x, y] = panel["title"]


def test_panels_ask_the_data_source_that_can_be_chosen() -> None:
    variables = {each["name"] for each in read_dashboard()["templating"]["list"]}
    assert variables == {"datasource", "queue"}
    for panel in PANELS:
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}", panel["title"]


def test_prometheus_finds_every_server_and_worker_of_the_compose_file() -> None:
    found = {
        config["job_name"]: config["dns_sd_configs"][0]
        for config in PROMETHEUS["scrape_configs"]
        if "dns_sd_configs" in config
    }
    server, worker = found["feedmill-server"], found["feedmill-worker"]
    assert server["names"] == ["server"]
    assert str(server["port"]) == SERVICES["server"]["environment"]["PORT"]
    workers = [name for name in SERVICES if name.startswith("worker")]
    assert sorted(worker["names"]) == sorted(workers)
    for name in workers:
        assert SERVICES[name]["environment"]["METRICS_PORT"] == str(worker["port"])


def test_prometheus_sees_each_server_under_one_address() -> None:
    shared_networks = set(SERVICES["prometheus"]["networks"]) & set(SERVICES["server"]["networks"])
    assert shared_networks == {"stores"}
    assert SERVICES["worker"]["networks"] == ["stores"]


def test_files_are_mounted_where_prometheus_and_grafana_look() -> None:
    assert PROMETHEUS["rule_files"] == ["alerts.yml"]
    mounted = {
        volume.split(":")[1]: volume.split(":")[0]
        for name in ("prometheus", "grafana")
        for volume in SERVICES[name]["volumes"]
        if volume.startswith("./")
    }
    assert mounted["/etc/prometheus"] == "./monitoring/prometheus"
    [provider] = read_yaml("grafana/provisioning/dashboards/feedmill.yml")["providers"]
    assert mounted[provider["options"]["path"]] == "./monitoring/grafana/dashboards"
    assert mounted["/etc/grafana/provisioning"] == "./monitoring/grafana/provisioning"
    [source] = read_yaml("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
