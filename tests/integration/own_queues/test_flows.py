"""Flows: what a tree becomes, what is refused as a whole, what is read back.

That Node leaves and answers the same is in ``tests/interop``.
"""

from typing import Any

import pytest

from feedmill import (
    Flow,
    FlowProducer,
    InvalidJobId,
    InvalidJobOptions,
    JobNotFound,
    JobStateError,
    Queue,
    QueueError,
    QueueFull,
    UnencodableJob,
    Worker,
)
from shared.queue import Completion, Failure, RedisConnection
from tests.failpoints import full_redis
from tests.flow_trees import page, report, shape
from tests.queue_states import claim, line


def test_a_parent_runs_when_its_children_are_done_and_reads_their_results(
    flows: Flow, reports: Queue, pages: Queue
) -> None:
    flows.add(report(page("a", data=2), page("b", data=3)))
    sums: list[int] = []
    adder = Worker(reports, lambda job: sums.append(sum(job.get_children_values().values())))
    writer = Worker(pages, lambda job: job.data * 10)
    assert not adder.step()
    assert writer.step()
    assert writer.step()
    assert adder.step()
    assert sums == [50]


def test_the_jobs_of_a_flow_come_back_as_they_lie_in_redis(flows: Flow) -> None:
    node = flows.add(report(page("a", children=[page("c", data={"n": [1]})]), page("b"), data=7))
    assert shape(node) == ["r", ["a", ["c"]], ["b"]]
    assert (node.job.name, node.job.data, node.job.queue_name) == ("report", 7, "reports")
    assert node.children[0].job.parent_key == "bull:reports:r"
    assert node.children[0].children[0].job.data == {"n": [1]}
    for each in (node, *node.children, *node.children[0].children):
        assert each.job.refresh() == each.job


def test_jobs_without_an_id_get_random_ones(flows: Flow, pages: Queue) -> None:
    nodes = flows.add_bulk([{"name": "n", "queue_name": "pages", "children": []}] * 3)
    ids = [node.job.id for node in nodes]
    assert line(pages.core) == ids
    assert len(set(ids)) == 3
    assert {len(job_id) for job_id in ids} == {36}
    assert nodes[0].job.opts == {"attempts": 0}


def test_several_flows_come_back_in_their_order(flows: Flow) -> None:
    nodes = flows.add_bulk(
        [
            report(page("a"), page("b", children=[page("d")])),
            page("x"),
            report(page("c"), opts={"job_id": "s"}),
        ]
    )
    assert [shape(node) for node in nodes] == [["r", ["a"], ["b", ["d"]]], ["x"], ["s", ["c"]]]
    assert flows.add_bulk([]) == []


def test_options_of_a_queue_hold_for_its_jobs_in_a_flow(flows: Flow) -> None:
    options = {"pages": {"default_job_options": {"attempts": 4, "priority": 2}}}
    node = flows.add(report(page("a")), queues_options=options)
    assert node.job.opts["attempts"] == 0
    assert (node.children[0].job.opts["attempts"], node.children[0].job.priority) == (4, 2)
    with pytest.raises(InvalidJobOptions, match="default_job_options"):
        flows.add(report(page("b")), queues_options={"pages": {"attempts": 4}})


def test_the_producer_has_its_name_of_bullmq_too() -> None:
    assert FlowProducer is Flow


LEAF = {"name": "n", "queue_name": "pages"}


@pytest.mark.parametrize(
    ("error", "child"),
    [
        (InvalidJobOptions, "page"),
        (InvalidJobOptions, {"name": "n"}),
        (InvalidJobOptions, {**LEAF, "queueName": "pages"}),
        (InvalidJobOptions, {**LEAF, "children": "abc"}),
        (InvalidJobOptions, {**LEAF, "children": {"name": "n"}}),
        (InvalidJobOptions, {**LEAF, "opts": {"delay": -1}}),
        (InvalidJobOptions, {**LEAF, "opts": {"deduplication": {"id": "d"}}}),
        (InvalidJobOptions, {**LEAF, "opts": {"parent": {"id": "p", "queue": "bull:q"}}}),
        (
            InvalidJobOptions,
            {
                **LEAF,
                "opts": {"fail_parent_on_failure": True, "ignore_dependency_on_failure": True},
            },
        ),
        (InvalidJobId, {**LEAF, "opts": {"job_id": "17"}}),
        (QueueError, {"name": "n", "queue_name": "a:b"}),
        (UnencodableJob, {**LEAF, "data": object()}),
    ],
)
def test_what_cannot_be_added_adds_nothing_of_its_flow(
    flows: Flow, redis_client: RedisConnection, error: type[Exception], child: Any
) -> None:
    with pytest.raises(error):
        flows.add_bulk([page("other"), report(page("a"), child)])
    assert redis_client.dbsize() == 0


def test_a_parent_cannot_be_deduplicated(flows: Flow) -> None:
    opts = {"deduplication": {"id": "d"}}
    with pytest.raises(InvalidJobOptions, match="none on a job with children"):
        flows.add(report(page("a"), opts=opts))
    assert flows.add(page("a", opts=opts)).job.deduplication_id == "d"


def test_a_job_that_would_wait_for_itself_is_refused(
    flows: Flow, redis_client: RedisConnection
) -> None:
    with pytest.raises(InvalidJobOptions, match="a job above it"):
        flows.add(report(page("a", children=[page("b", children=[report()])])))
    with pytest.raises(JobStateError, match="'a': is the child of another parent"):
        flows.add(report(page("a", children=[page("b", children=[page("a")])])))
    assert redis_client.dbsize() == 0


def test_a_flow_below_a_parent_that_is_gone_is_refused(
    flows: Flow, redis_client: RedisConnection
) -> None:
    parent = {"id": "gone", "queue": "bull:reports"}
    with pytest.raises(JobNotFound, match="gone"):
        flows.add(report(page("a"), opts={"parent": parent}))
    assert redis_client.dbsize() == 0


def test_a_flow_that_is_too_large_is_refused(flows: Flow, redis_client: RedisConnection) -> None:
    endless = report()
    endless["children"].append(endless)
    for children in ([page(f"p{n}") for n in range(5_000)], [endless]):
        with pytest.raises(QueueError, match="more than 5000 jobs"):
            flows.add(report(*children))
    with pytest.raises(QueueError, match="at most 5000 jobs and 8388608 bytes"):
        flows.add(report(*[page(f"p{n}", data="x" * 1_000_000) for n in range(9)]))
    assert redis_client.dbsize() == 0


def test_a_flow_of_the_largest_size_is_added_and_read_back(flows: Flow, pages: Queue) -> None:
    node = flows.add(report(*[page(f"p{n}") for n in range(4_999)]))
    assert len(line(pages.core)) == len(node.children) == 4_999
    found = flows.get_flow("reports", "r")
    assert found is not None
    assert {child.job.id for child in found.children} == {f"p{n}" for n in range(4_999)}


def test_a_chain_of_a_thousand_levels_is_added_read_and_removed(
    flows: Flow, reports: Queue
) -> None:
    tree = page("p999")
    for number in reversed(range(999)):
        tree = page(f"p{number}", children=[tree])
    flows.add(report(tree))
    found, depth = flows.get_flow("reports", "r", 2_000), 0
    while found is not None:
        depth, found = depth + 1, (*found.children, None)[0]
    assert depth == 1_001
    assert reports.remove("r")
    assert flows.get_flow("pages", "p999") is None


def test_a_full_redis_takes_no_job_of_a_flow(flows: Flow, redis_client: RedisConnection) -> None:
    with full_redis(redis_client), pytest.raises(QueueFull):
        flows.add(report(page("a")))
    assert redis_client.dbsize() == 0


def test_a_flow_can_be_added_again(flows: Flow, pages: Queue, reports: Queue) -> None:
    flows.add(report(page("a"), page("b")))
    assert Worker(pages, lambda job: job.id).step()
    node = flows.add(report(page("a", data="other"), page("b")))
    assert [child.job.return_value for child in node.children] == ["a", None]
    assert node.children[0].job.data == {}
    assert Worker(pages, lambda job: job.id).step()
    assert line(reports.core) == ["r"]


def test_a_flow_never_takes_the_child_of_another_parent(
    flows: Flow, pages: Queue, redis_client: RedisConnection
) -> None:
    flows.add(report(page("a")))
    keys = set(redis_client.keys())
    with pytest.raises(JobStateError, match="'a': is the child of another parent"):
        flows.add(report(page("c"), page("a"), opts={"job_id": "s"}))
    assert set(redis_client.keys()) == keys


def test_a_flow_never_loses_a_child_to_a_parent_that_it_brings_back(
    flows: Flow, pages: Queue, reports: Queue, redis_client: RedisConnection
) -> None:
    flows.add({**page("b", children=[page("a")])})
    pages.remove("b", remove_children=False)
    keys = set(redis_client.keys())
    with pytest.raises(JobStateError, match="'a': is the child of another parent"):
        flows.add(report(page("b"), page("a")))
    assert set(redis_client.keys()) == keys
    # Here it is taken over before its former parent is there again.
    flows.add(report(page("a"), page("b")))
    assert reports.get_waiting_children()[0].get_dependencies_count()["unprocessed"] == 2


def test_a_parent_that_goes_leaves_a_job_that_took_the_id_of_its_child(
    flows: Flow, pages: Queue, reports: Queue
) -> None:
    flows.add(report(page("a"), page("b")))
    assert Worker(pages, lambda job: None).step()
    pages.remove("a")
    pages.add("other", job_id="a")
    held = claim(pages.core, limit=2).jobs
    assert [job.id for job in held] == ["b", "a"]
    pages.core.complete_many([Completion("b", "t1")])
    # It is run now, and nobody's child.
    assert reports.remove("r")
    assert pages.core.complete_many([Completion("a", "t1")]) == ["settled"]
    assert pages.get_job("b") is None


def test_parents_that_need_not_wait_keep_their_order(
    flows: Flow, pages: Queue, reports: Queue
) -> None:
    ids = [f"c{n}" for n in range(20)]
    pages.add_bulk([{"name": "n", "opts": {"job_id": job_id}} for job_id in ids])
    while Worker(pages, lambda job: 1).step():
        pass
    flows.add_bulk([report(page(job_id), opts={"job_id": f"r-{job_id}"}) for job_id in ids])
    # Each goes to the front, as a parent does whose last child is done.
    assert line(reports.core) == [f"r-{job_id}" for job_id in reversed(ids)]


def test_what_is_not_there_is_no_flow(flows: Flow) -> None:
    assert flows.get_flow("reports", "nobody") is None
    with pytest.raises(InvalidJobOptions, match="whole number from 1"):
        flows.get_flow("reports", "nobody", 0)


def test_a_flow_is_read_back_in_whatever_state_its_jobs_are(
    flows: Flow, pages: Queue, redis_client: RedisConnection
) -> None:
    ignored = {"job_id": "d", "ignore_dependency_on_failure": True}
    failing = {"job_id": "c", "fail_parent_on_failure": True}
    flows.add(
        report(page("a"), page("gone"), page("d", opts=ignored), page("c", opts=failing), page("e"))
    )
    jobs = {job.id: job for job in claim(pages.core, limit=4).jobs}
    pages.core.fail_many([Failure(job_id, "t1", "bad", "") for job_id in ("c", "d")])
    redis_client.delete("bull:pages:gone")
    assert set(jobs) == {"a", "gone", "c", "d"}
    assert shape(flows.get_flow("reports", "r")) == ["r", ["a"], ["e"], ["c"], ["d"]]
    assert shape(flows.get_flow("reports", "r", 1)) == ["r"]


def test_children_of_other_prefixes_and_with_colons_are_found(
    redis_client: RedisConnection,
) -> None:
    flows, other = Flow(redis_client, prefix="{x:1}"), Queue("pages", redis_client, prefix="{y:1}")
    flows.add(report(page("a:b:c", children=[page("d")])))
    other.add("page", job_id="far")
    redis_client.sadd("{x:1}:reports:r:dependencies", "{y:1}:pages:far", "no key")
    found = flows.get_flow("reports", "r")
    assert sorted(shape(found)[1:]) == [["a:b:c", ["d"]], ["far"]]


def test_a_job_that_is_its_own_child_is_read_once(
    flows: Flow, redis_client: RedisConnection
) -> None:
    flows.add(report(page("a"), page("b")))
    redis_client.sadd("bull:pages:a:dependencies", "bull:reports:r", "bull:pages:a", "bull:pages:b")
    redis_client.set("bull:pages:b:processed", "no hash")
    assert sorted(shape(flows.get_flow("reports", "r", 99))[1:]) == [["a"], ["b"]]
