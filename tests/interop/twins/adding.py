"""Adding jobs, one by one and many at a time."""

from collections.abc import Callable
from typing import Any

from shared.queue import Completion
from tests.interop.pairs import CLAIM, Ours, Step, Twin

KEEP = {"remove_on_complete": 3, "remove_on_fail": {"age": 60, "count": 5}}


def add(name: str, data: str, opts: str, *given: Any, **options: Any) -> Step:
    """A step that adds a job: for Node in JavaScript, for us as values."""
    return f"await q.add('{name}', {data}, {opts});", lambda ours: ours.queue().add(
        name, *given, **options
    )


def dedup(opts: str, number: int, options: dict[str, Any], **more: Any) -> Step:
    node = f"await q.add('x', {{ n: {number} }}, {{ deduplication: {opts} }});"
    if more:
        node = node.replace(" });", f", {', '.join(f'{k}: {v}' for k, v in more.items())} }});")
    return node, lambda ours: ours.queue().add("x", {"n": number}, deduplication=options, **more)


def _complete(ours: Ours) -> object:
    assert ours.job is not None
    return ours.core().complete_many([Completion(ours.job.id, "t", 0)])


COMPLETE: Step = ("await job.moveToCompleted(0, 't', false);", _complete)


def _bulk() -> tuple[str, Callable[[Ours], object]]:
    node = """await q.addBulk([
        { name: 'a', data: { n: 1 } },
        { name: 'b', data: 'text', opts: { delay: 60_000 } },
        { name: 'c', data: null, opts: { priority: 3, attempts: 2 } },
        { name: 'd', data: [1], opts: { jobId: 'd', lifo: true } },
        { name: 'e', data: {}, opts: { jobId: 'd' } },
    ]);"""
    ours: list[dict[str, Any]] = [
        {"name": "a", "data": {"n": 1}},
        {"name": "b", "data": "text", "opts": {"delay": 60_000}},
        {"name": "c", "data": None, "opts": {"priority": 3, "attempts": 2}},
        {"name": "d", "data": [1], "opts": {"job_id": "d", "lifo": True}},
        {"name": "e", "data": {}, "opts": {"job_id": "d"}},
    ]
    return node, lambda side: side.queue().add_bulk(ours)


SIMPLE = {"id": "s"}
TTL, EXTEND = {"id": "s", "ttl": 9_000}, {"id": "s", "ttl": 50_000, "extend": True}
REPLACE = {"id": "s", "ttl": 50_000, "replace": True}
LAST = {"id": "s", "keep_last_if_active": True}
RESCHEDULE = {"id": "s", "reschedule": True}
PARENT = "{ jobId: 'c', parent: { id: 'p', queue: q.qualifiedName } }"


def child(ours: Ours) -> object:
    parent = {"id": "p", "queue": ours.queue().qualified_name}
    return ours.queue().add("c", {}, job_id="c", parent=parent)


TWINS = [
    Twin(
        "add standard jobs that get a number",
        [
            add("a", "undefined", "undefined"),
            add("b", "null", "{}", None),
            add("c", "'text/ü'", "{}", "text/ü"),
            CLAIM,
        ],
    ),
    Twin(
        "add with an id and every form of keeping",
        [
            add(
                "a",
                "{ x: 1 }",
                "{ jobId: 'a', removeOnComplete: true, removeOnFail: false }",
                {"x": 1},
                job_id="a",
                remove_on_complete=True,
                remove_on_fail=False,
            ),
            add(
                "b",
                "{ x: [1, 'two'] }",
                "{ jobId: 'b', removeOnComplete: 3, removeOnFail: { age: 60, count: 5 } }",
                {"x": [1, "two"]},
                job_id="b",
                **KEEP,
            ),
            add(
                "c",
                "{}",
                "{ attempts: 3, backoff: 1000, keepLogs: 2, stackTraceLimit: 4, sizeLimit: 99 }",
                {},
                attempts=3,
                backoff=1000,
                keep_logs=2,
                stack_trace_limit=4,
                size_limit=99,
            ),
            add(
                "d",
                "{}",
                "{ backoff: { type: 'exponential', delay: 5, jitter: 0.5 } }",
                {},
                backoff={"type": "exponential", "delay": 5, "jitter": 0.5},
            ),
        ],
    ),
    Twin(
        "add to the front of the line",
        [
            add("a", "{}", "{}", {}),
            add("b", "{}", "{ lifo: true }", {}, lifo=True),
            add("c", "{}", "{ lifo: false }", {}, lifo=False),
            CLAIM,
        ],
    ),
    Twin(
        "add to the front with a priority",
        [
            add("a", "{}", "{ priority: 2 }", {}, priority=2),
            add("b", "{}", "{ priority: 2, lifo: true }", {}, priority=2, lifo=True),
        ],
    ),
    Twin(
        "add a delayed job",
        [add("a", "{}", "{ delay: 60_000, jobId: 'd' }", {}, delay=60_000, job_id="d"), CLAIM],
    ),
    Twin(
        "add delayed jobs that are due in one ms",
        [
            add(
                "a",
                "{}",
                "{ delay: 60_000, timestamp: 1790000000000 }",
                {},
                delay=60_000,
                timestamp=1_790_000_000_000,
            ),
            add(
                "b",
                "{}",
                "{ delay: 60_000, timestamp: 1790000000000 }",
                {},
                delay=60_000,
                timestamp=1_790_000_000_000,
            ),
        ],
    ),
    Twin(
        "add a delayed job with a priority",
        [
            add(
                "a",
                "{}",
                "{ delay: 60_000, priority: 4, lifo: true }",
                {},
                delay=60_000,
                priority=4,
                lifo=True,
            ),
            add("b", "{}", "{ delay: 0, priority: 0 }", {}, delay=0, priority=0),
        ],
    ),
    Twin(
        "add prioritized jobs, first come first served",
        [
            add(name, "{}", f"{{ priority: {priority} }}", {}, priority=priority)
            for name, priority in (("a", 5), ("b", 1), ("c", 5), ("d", 2_097_151))
        ]
        + [CLAIM],
    ),
    Twin(
        "add while the queue is paused",
        [
            ("await q.pause();", lambda ours: ours.queue().pause()),
            add("a", "{}", "{}", {}),
            add("b", "{}", "{ priority: 1 }", {}, priority=1),
            add("c", "{}", "{ delay: 60_000 }", {}, delay=60_000),
        ],
    ),
    Twin(
        "add while as many run as may",
        [CLAIM, add("b", "{}", "{}", {}), add("c", "{}", "{ delay: 60_000 }", {}, delay=60_000)],
        seed="await q.setGlobalConcurrency(1); await q.add('a', {});",
    ),
    Twin(
        "add an id that waits",
        [add("b", "{ v: 2 }", "{ jobId: 'a', delay: 5 }", {"v": 2}, job_id="a", delay=5), CLAIM],
        seed="await q.add('a', { v: 1 }, { jobId: 'a' });",
    ),
    Twin(
        "add an id that is kept as completed",
        [CLAIM, COMPLETE, add("b", "{ v: 2 }", "{ jobId: 'a' }", {"v": 2}, job_id="a")],
        seed="await q.add('a', { v: 1 }, { jobId: 'a' });",
    ),
    Twin("add many of all kinds at a time", [_bulk(), CLAIM]),
    Twin(
        "deduplicate until the owner ends",
        [
            dedup("{ id: 's' }", 1, SIMPLE),
            dedup("{ id: 's' }", 2, SIMPLE),
            CLAIM,
            dedup("{ id: 's' }", 3, SIMPLE),
            COMPLETE,
            dedup("{ id: 's' }", 4, SIMPLE),
        ],
    ),
    Twin(
        "deduplicate for a time, and for a time anew",
        [
            dedup("{ id: 's', ttl: 9000 }", 1, TTL),
            dedup("{ id: 's', ttl: 9000 }", 2, TTL),
            dedup("{ id: 's', ttl: 50000, extend: true }", 3, EXTEND),
            CLAIM,
            COMPLETE,
            dedup("{ id: 's', ttl: 9000 }", 4, TTL),
        ],
    ),
    Twin(
        "deduplicate by replacing the delayed owner",
        [
            dedup(
                "{ id: 's', ttl: 9000, replace: true }", 1, {**REPLACE, "ttl": 9_000}, delay=60_000
            ),
            dedup("{ id: 's', ttl: 50000, replace: true }", 2, REPLACE, delay=60_000),
            dedup(
                "{ id: 's', ttl: 50000, replace: true, extend: true }",
                3,
                {**REPLACE, "extend": True},
            ),
            dedup("{ id: 's', replace: true }", 4, {"id": "s", "replace": True}),
        ],
    ),
    Twin(
        "deduplicate and keep the last one for when the owner is done",
        [
            dedup("{ id: 's', keepLastIfActive: true }", 1, LAST),
            dedup("{ id: 's', keepLastIfActive: true }", 2, LAST),
            CLAIM,
            dedup("{ id: 's', keepLastIfActive: true }", 3, LAST),
            dedup("{ id: 's', keepLastIfActive: true }", 4, LAST, priority=3),
            COMPLETE,
            dedup("{ id: 's', keepLastIfActive: true }", 5, LAST),
        ],
    ),
    Twin(
        "deduplicate and keep the last one though the id has a time",
        [
            dedup("{ id: 's', ttl: 9000 }", 1, TTL),
            CLAIM,
            dedup("{ id: 's', ttl: 9000, keepLastIfActive: true }", 2, {**LAST, "ttl": 9_000}),
        ],
    ),
    Twin(
        "deduplicate and let the delayed owner wait anew",
        [
            dedup("{ id: 's', reschedule: true }", 1, RESCHEDULE, delay=60_000),
            dedup("{ id: 's', reschedule: true }", 2, RESCHEDULE, delay=90_000),
        ],
    ),
    Twin(
        "deduplicate when the owner is gone without an end",
        [dedup("{ id: 's' }", 2, SIMPLE)],
        seed="""
            const opts = { deduplication: { id: 's' }, delay: 60_000 };
            const { id } = await q.add('x', { n: 1 }, opts);
            const c = await q.backend.client;
            await c.del(q.toKey(id));
            await c.zrem(q.toKey('delayed'), id);
        """,
    ),
    Twin(
        "add a child to a parent that waits already",
        [(f"await q.add('c', {{}}, {PARENT});", child), CLAIM],
        seed="await q.add('p', {}, { jobId: 'p', delay: 60_000 });",
    ),
    Twin(
        "add a child that is there already",
        [(f"await q.add('c', {{}}, {PARENT});", child)],
        seed="""
            await q.add('p', {}, { jobId: 'p', delay: 60_000 });
            await q.add('c', {}, { jobId: 'c' });
        """,
    ),
    Twin(
        "add a child that is completed already",
        [CLAIM, COMPLETE, (f"await q.add('c', {{}}, {PARENT});", child)],
        seed="""
            await q.add('p', {}, { jobId: 'p', delay: 60_000 });
            await q.add('c', {}, { jobId: 'c' });
        """,
    ),
]
