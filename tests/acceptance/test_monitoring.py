"""What a real server and a real worker tell Prometheus is all that dashboard and alerts ask for."""

import httpx2

from shared.clock import SystemClock
from shared.queue import RedisConnection
from shared.queue.registry import QueueRecord, QueueRegistry
from tests.feeds.make_feed import make_feed
from tests.monitoring import expressions, scraped, unanswered
from tests.processes import Deploy, Deployment, wait_until
from tests.publisher import Publisher
from tests.servers import find_free_port

ITEMS = 20


def scrape_worker(port: int) -> str:
    answer = httpx2.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=10)
    assert answer.status_code == 200
    return answer.text


def scrape_server(deployed: Deployment) -> str:
    answer = deployed.api.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    return answer.text


def test_every_metric_of_dashboard_and_alerts_and_of_each_process_is_exported(
    deploy: Deploy, publisher: Publisher, redis_client: RedisConnection
) -> None:
    url = publisher.serve("/feed.xml", make_feed(ITEMS))
    # What a worker of an app writes down.
    registry = QueueRegistry(redis_client, prefix="bull", clock=SystemClock())
    registry.register([QueueRecord("emails", "light")])
    deployed, port = deploy(), find_free_port()
    deployed.start_server()
    deployed.start_worker(METRICS_PORT=str(port))
    deployed.api.post("/feeds", json={"url": url, "source": "quay", "interval_s": 3600})
    wait_until(
        lambda: deployed.api.get("/imports?source=quay&state=completed").json()["items"],
        "the scheduled import is closed",
    )
    wait_until(lambda: "feedmill_settle_seconds_count" in scrape_worker(port), "its flush is noted")
    texts = scrape_server(deployed), scrape_worker(port)
    of_the_process = {"process_resident_memory_bytes", "process_cpu_seconds_total"}
    assert [of_the_process - scraped(each).keys() for each in texts] == [set(), set()]
    text = "".join(texts)
    samples = scraped(text)
    missing = {place: list(unanswered(expr, samples)) for place, expr in expressions().items()}
    assert {place: lacks for place, lacks in missing.items() if lacks} == {}

    assert f'queue="job_import_queue",status="completed"}} {ITEMS}.0' in text
    labels = {
        (name, value)
        for found in samples.values()
        for sample in found
        for name, value in sample.items()
    }
    for name, value in labels:
        assert "#" not in value, f"an id is a label: {name}"
        assert "/" not in value, f"an address is a label: {name}"
