"""The same steps by Node's BullMQ and by us leave the same keys and the same events."""

import pytest

from shared.clock import SystemClock
from shared.queue import (
    Completion,
    Failure,
    JobQueue,
    JobState,
    Lock,
    NewJob,
    Postponement,
    RateLimit,
    RedisConnection,
    RemoveOutcome,
    Retry,
)
from tests.interop.node_driver import NodeDriver
from tests.interop.snapshot import snapshot

LOCK_MS = 30_000


class Pair:
    """Two queues of one name: ``node`` is moved by Node's BullMQ, ``ours`` by us."""

    def __init__(self, node: NodeDriver, client: RedisConnection, name: str = "q") -> None:
        self.node = node
        self.client = client
        self.name = name
        self.ours = JobQueue(client, name, prefix="ours", clock=SystemClock())

    def both(self, code: str, **args: object) -> None:
        """Let Node do the same on both sides: what our side has no call for."""
        for prefix in ("node", "ours"):
            self._run(prefix, code, args)

    def node_does(self, code: str, **args: object) -> object:
        return self._run("node", code, args)

    def _run(self, prefix: str, code: str, args: dict[str, object]) -> object:
        head = (
            "const q = await queue(args.prefix, args.name);"
            "const w = await hand(args.prefix, args.name, args.options ?? {});"
        )
        return self.node.run(head + code, prefix=prefix, name=self.name, **args)

    def claim(self, token: str = "t", **options: object) -> str | None:
        """Claim one job on each side; the same one, which is returned."""
        theirs = self.node_does(
            "globalThis.job = await w.getNextJob(args.token, { block: false });"
            "return globalThis.job?.id ?? null",
            token=token,
            options=options,
        )
        limiter = options.get("limiter")
        rate_limit = RateLimit(limiter["max"], limiter["duration"]) if limiter else None
        claimed = self.ours.claim(limit=1, lock_ms=LOCK_MS, token=token, rate_limit=rate_limit)
        # Tokens are used again here, as Node allows; our record of the claim would answer again.
        self.client.delete(f"ours:{self.name}:own:claim:{token}")
        assert theirs == (claimed.jobs[0].id if claimed.jobs else None)
        return claimed.jobs[0].id if claimed.jobs else None

    def assert_same(self) -> None:
        theirs = snapshot(self.client, "node")
        assert theirs["q:events"]
        assert snapshot(self.client, "ours") == theirs


@pytest.fixture
def pair(node: NodeDriver, redis_client: RedisConnection) -> Pair:
    return Pair(node, redis_client)


def test_add_leaves_what_node_leaves(pair: Pair) -> None:
    pair.both("")
    opts = {"attempts": 3, "backoff": {"type": "exponential", "delay": 1000}}
    for job_id in ("s#1", "s#2", "s#1"):
        pair.node_does(
            "await q.add('item', { x: 1 }, { ...args.opts, jobId: args.id })",
            id=job_id,
            opts=opts | {"removeOnComplete": True},
        )
    jobs = [NewJob(i, "item", {"x": 1}, attempts=3, backoff_ms=1000) for i in ("s#1", "s#2", "s#1")]
    pair.ours.add_many(jobs)
    pair.assert_same()


def test_claim_and_complete_leave_what_node_leaves(pair: Pair) -> None:
    pair.both("await q.add('a', {}); await q.add('b', {}, { removeOnComplete: true })")
    pair.claim()
    pair.assert_same()
    pair.node_does("await job.moveToCompleted({ ok: true }, 't', false)")
    pair.ours.complete_many([Completion("1", "t", {"ok": True})])
    pair.assert_same()
    pair.claim()
    pair.node_does("await job.moveToCompleted(undefined, 't', false)")
    pair.ours.complete_many([Completion("2", "t")])
    pair.assert_same()


def test_claims_of_prioritized_lifo_and_delayed_jobs_leave_what_node_leaves(pair: Pair) -> None:
    pair.both(
        """
        await q.add('p', {}, { jobId: 'p5', priority: 5 });
        await q.add('p', {}, { jobId: 'p1', priority: 1 });
        await q.add('a', {}, { jobId: 'a' });
        await q.add('l', {}, { jobId: 'l', lifo: true });
        const timestamp = Date.now() - 120_000;
        await q.add('d', {}, { jobId: 'd', delay: 60_000, timestamp });
        await q.add('d', {}, { jobId: 'dp', delay: 30_000, priority: 3, timestamp });
        await q.add('d', {}, { jobId: 'later', delay: 600_000 });
        """
    )
    order = []
    while (job_id := pair.claim()) is not None:
        order.append(job_id)
        pair.assert_same()
        pair.node_does("await job.moveToCompleted(1, 't', false)")
        pair.ours.complete_many([Completion(job_id, "t", 1)])
        pair.assert_same()
    assert order == ["l", "a", "d", "p1", "dp", "p5"]


def test_retry_backoff_and_final_failure_leave_what_node_leaves(pair: Pair) -> None:
    pair.both(
        """
        await q.add('a', {}, { jobId: 'a', attempts: 2 });
        const backoff = { type: 'exponential', delay: 1000 };
        await q.add('b', {}, { jobId: 'b', attempts: 3, backoff, stackTraceLimit: 1 });
        """
    )
    fail_in_node = "await job.moveToFailed(new Error(args.reason), 't', false)"
    pair.claim()
    pair.node_does(fail_in_node, reason="boom 1")
    pair.ours.retry_many([Retry("a", "t", "boom 1", "stack", 0)])
    pair.assert_same()
    pair.claim()
    pair.node_does(fail_in_node, reason="boom 2")
    pair.ours.retry_many([Retry("b", "t", "boom 2", "stack", 1000)])
    # The marker shows a fraction of a millisecond of its own moment.
    pair.assert_same()
    pair.claim()
    pair.node_does(fail_in_node, reason="boom 3")
    pair.ours.fail_many([Failure("a", "t", "boom 3", "stack")])
    pair.assert_same()


def test_pause_and_resume_leave_what_node_leaves(pair: Pair) -> None:
    pair.both("await q.add('a', {})")
    pair.node_does("await q.pause()")
    pair.ours.pause()
    pair.assert_same()
    pair.both("await q.add('b', {}); await q.add('c', {}, { delay: 60_000 })")
    assert pair.claim() is None
    pair.node_does("await q.resume()")
    pair.ours.resume()
    pair.assert_same()


def test_a_reclaimed_job_stands_where_node_puts_it(pair: Pair) -> None:
    pair.both("await q.add('a', {}); await q.add('b', {}, { priority: 2 })")
    pair.claim()
    pair.claim()
    for side in ("node", "ours"):
        pair.client.delete(f"{side}:q:1:lock", f"{side}:q:2:lock")
    pair.node_does("await w.moveStalledJobsToWait()")
    pair.client.delete("node:q:stalled-check")
    pair.node_does("await w.moveStalledJobsToWait()")
    pair.ours.reclaim_stalled(max_stalled=1)
    ours, theirs = snapshot(pair.client, "ours"), snapshot(pair.client, "node")
    # Node walks a set, whose order means nothing; we keep the order of the claims.
    for side in (ours, theirs):
        side["q:wait"].sort()
        side["q:events"].sort(key=repr)
    assert ours == theirs


def test_remove_leaves_what_node_leaves(pair: Pair) -> None:
    pair.both(
        """
        for (const jobId of ['w', 'w2']) await q.add('a', {}, { jobId });
        await q.add('d', {}, { jobId: 'd', delay: 60_000 });
        await q.add('p', {}, { jobId: 'p', priority: 2 });
        """
    )
    ids = ["w2", "d", "p"]
    for job_id in ids:
        pair.node_does("await q.remove(args.id)", id=job_id)
    assert pair.ours.remove_many([*ids, "nope"]) == [RemoveOutcome.REMOVED] * 3 + [
        RemoveOutcome.MISSING
    ]
    pair.assert_same()
    pair.claim()
    assert pair.ours.remove_many(["w"]) == [RemoveOutcome.LOCKED]


def test_clean_of_completed_jobs_leaves_what_node_leaves(pair: Pair) -> None:
    pair.both("for (let n = 0; n < 3; n++) await q.add('a', {})")
    for job_id in ("1", "2", "3"):
        pair.claim()
        pair.node_does("await job.moveToCompleted(1, 't', false); await sleep(3)")
        pair.ours.complete_many([Completion(job_id, "t", 1)])
    pair.node_does("await sleep(20); return await q.clean(0, 2, 'completed')")
    assert len(pair.ours.clean(JobState.COMPLETED, 0, 2)) == 2
    pair.assert_same()


@pytest.mark.parametrize("keep", [{"count": 2}, 1, False, {"age": 0}, {"age": 3600, "count": 2}])
def test_kept_completed_jobs_are_those_that_node_keeps(pair: Pair, keep: object) -> None:
    pair.both(
        "for (let n = 0; n < 4; n++) await q.add('a', {}, { removeOnComplete: args.keep })",
        keep=keep,
    )
    for job_id in ("1", "2", "3", "4"):
        pair.claim()
        pair.node_does("await job.moveToCompleted(1, 't', false); await sleep(3)")
        pair.ours.complete_many([Completion(job_id, "t", 1)])
        pair.assert_same()


def test_a_rate_limit_counts_as_node_counts(pair: Pair) -> None:
    pair.both("await q.add('a', {}); await q.add('b', {})")
    limiter = {"max": 1, "duration": 60_000}
    assert pair.claim(limiter=limiter) == "1"
    pair.assert_same()
    assert pair.claim("t2", limiter=limiter) is None
    assert 0 < pair.client.pttl("ours:q:limiter") <= 60_000


def test_release_leaves_what_a_put_back_of_node_leaves(pair: Pair) -> None:
    pair.both("await q.add('a', {}); await q.add('p', {}, { priority: 3 })")
    for job_id in ("1", "2"):
        pair.claim()
        pair.node_does("await job.moveToWait('t')")
        pair.ours.release_many([Lock(job_id, "t")])
        pair.assert_same()
        pair.both("await q.remove('1')")


def test_postpone_leaves_what_a_processor_that_delays_its_job_leaves(pair: Pair) -> None:
    pair.both("await q.add('a', {}); await q.add('p', {}, { priority: 3 })")
    for job_id in ("1", "2"):
        pair.claim()
        # Node takes the time again inside, and the delay from that: a millisecond later it is less.
        pair.node_does(
            "const now = Date.now, at = now(); Date.now = () => at;"
            "try { await job.moveToDelayed(at + 60_000, 't') } finally { Date.now = now }"
        )
        pair.ours.postpone_many([Postponement(job_id, "t", 60_000)])
        pair.assert_same()


def test_children_completed_by_us_release_their_parent_as_in_node(pair: Pair) -> None:
    pair.both(
        """
        const f = await flow(args.prefix);
        await f.add({ name: 'P', queueName: 'parents', data: {}, opts: { jobId: 'par' }, children: [
          { name: 'c', queueName: 'q', opts: { jobId: 'k1' } },
          { name: 'c', queueName: 'q', opts: { jobId: 'k2', removeOnComplete: true } } ] });
        """
    )
    for job_id in ("k1", "k2"):
        assert pair.claim() == job_id
        pair.node_does("await job.moveToCompleted({ a: 1 }, 't', false)")
        pair.ours.complete_many([Completion(job_id, "t", {"a": 1})])
        pair.assert_same()


@pytest.mark.parametrize(
    "flag",
    [
        "failParentOnFailure",
        "ignoreDependencyOnFailure",
        "removeDependencyOnFailure",
        "continueParentOnFailure",
        "none",
    ],
)
def test_a_child_failed_by_us_does_to_its_parent_what_node_does(pair: Pair, flag: str) -> None:
    pair.both(
        """
        const f = await flow(args.prefix);
        const flags = args.flag == 'none' ? {} : { [args.flag]: true };
        await f.add({ name: 'P', queueName: 'parents', opts: { jobId: 'par' }, children: [
          { name: 'c', queueName: 'q', opts: { jobId: 'k1', ...flags } },
          { name: 'c', queueName: 'q', opts: { jobId: 'k2' } } ] });
        """,
        flag=flag,
    )
    pair.claim()
    pair.node_does("await job.moveToFailed(new Error('bad'), 't', false)")
    pair.ours.fail_many([Failure("k1", "t", "bad", "stack")])
    pair.assert_same()
    pair.claim()
    pair.node_does("await job.moveToCompleted(1, 't', false)")
    pair.ours.complete_many([Completion("k2", "t", 1)])
    pair.assert_same()


def test_a_deduplication_id_is_free_again_when_its_owner_is_done(pair: Pair) -> None:
    pair.both(
        """
        await q.add('a', {}, { deduplication: { id: 's' } });
        await q.add('a', {}, { deduplication: { id: 't', ttl: 50_000 } });
        """
    )
    for job_id in ("1", "2"):
        pair.claim()
        pair.node_does("await job.moveToCompleted(0, 't', false)")
        pair.ours.complete_many([Completion(job_id, "t", 0)])
        pair.assert_same()


@pytest.mark.parametrize("more", [{}, {"priority": 4}, {"delay": 60_000}, {"lifo": True}])
def test_the_last_job_refused_while_its_like_ran_starts_afterwards(
    pair: Pair, more: dict[str, object]
) -> None:
    add = "await q.add('k', { v: args.v }, { deduplication: args.deduplication, ...args.more })"
    deduplication = {"id": "k", "keepLastIfActive": True}
    pair.both(add, v=1, deduplication=deduplication, more={})
    pair.claim()
    for v in (2, 3):
        pair.both(add, v=v, deduplication=deduplication, more=more)
    pair.node_does("await job.moveToCompleted(0, 't', false)")
    pair.ours.complete_many([Completion("1", "t", 0)])
    pair.assert_same()
