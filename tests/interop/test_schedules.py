"""Schedules: Node and we find the same times, and each goes on with what the other has made.

Node's clock is set, as ours is.
"""

import json
import random
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from feedmill import InvalidJobOptions, JobStateError, Queue, Worker
from shared.clock import datetime_from_ms
from shared.queue import Completion, RedisConnection
from shared.queue.cron import next_time, read_pattern
from shared.queue.repeats import read_zone
from shared.queue.schedulers import continue_schedule
from tests.fakes import FakeClock
from tests.interop.dumps import dump
from tests.interop.node_driver import NodeDriver
from tests.processes import wait_until

PREFIXES = ("node", "ours")
NOW_MS = 1_796_000_012_345
DAY_MS = 86_400_000
LATER_MS = 4_000_000_000_000
# A worker of Node's waits by timers, which this leaves alone.
SET_CLOCK = """
    globalThis.RealDate ??= Date;
    globalThis.Date = class extends RealDate {
      constructor(...given) { given.length ? super(...given) : super(args.now); }
      static now() { return args.now; }
    };
"""
UPSERT = """
    const made = await queue(args.prefix, 'q');
    try {
      return (await made.upsertJobScheduler('s', args.repeat, { name: 'x' })).id;
    } catch { return 'refused'; }
"""
CLAIM = """
    const claimer = await hand(args.prefix, 'q');
    const job = await claimer.getNextJob('t', { block: false });
    if (job) await job.moveToCompleted(0, 't', false);
    return job?.id ?? null;
"""
REPEATS: list[dict[str, Any]] = [
    {"every": 60_000},
    {"every": 7_000, "offset": 6_999},
    {"every": 3_600_000, "startDate": NOW_MS + 1_234_567},
    {"every": 1000, "limit": 3},
    {"every": 90_000, "endDate": NOW_MS + 100_000},
    {"pattern": "*/5 * * * *"},
    {"pattern": "0 8 * * 1", "tz": "Europe/Rome"},
    {"pattern": "*/30 * * * * *", "limit": 2},
    {"pattern": "0 0 * * *", "tz": "Asia/Kathmandu", "immediately": True},
    {"pattern": "0 12 * * *", "tz": "UTC", "startDate": NOW_MS + 10 * DAY_MS},
    {"pattern": "0 * * * *", "tz": "UTC", "endDate": NOW_MS + 2 * 3_600_000},
]
NAMES = {"startDate": "start_date", "endDate": "end_date"}


class Both:
    """The same queue under two prefixes, and one time for both sides."""

    def __init__(self, node: NodeDriver, client: RedisConnection) -> None:
        self.node, self.client = node, client
        self.clock = FakeClock(datetime_from_ms(NOW_MS))
        self.queues = {
            prefix: Queue("q", client, prefix=prefix, clock=self.clock) for prefix in PREFIXES
        }

    def run(self, code: str, prefix: str, **args: Any) -> Any:
        """Run JavaScript whose clock shows our time."""
        now_ms = self.clock.now_ms()
        return self.node.run(SET_CLOCK + code, prefix=prefix, now=now_ms, **args)

    def upsert(self, prefix: str, repeat: dict[str, Any]) -> str:
        """Make the scheduler ``s`` as we do; return its next job's id."""
        ours = {NAMES.get(name, name): value for name, value in repeat.items()}
        try:
            return self.queues[prefix].upsert_job_scheduler("s", ours, {"name": "x"}).id
        except (InvalidJobOptions, JobStateError):
            return "refused"

    def claim(self, prefix: str) -> str | None:
        """Claim a job, let it make the next one, and complete it, as our worker does."""
        core = self.queues[prefix].core
        token = uuid.uuid4().hex
        jobs = core.claim(limit=1, lock_ms=30_000, token=token, reads_whole=True).jobs
        for job in jobs:
            continue_schedule(core, job)
            core.complete_many([Completion(job.id, token, 0)])
        return jobs[0].id if jobs else None

    def times(self, prefix: str) -> Any:
        """Return all that a scheduler remembers, and what its jobs know of their times."""
        keys = sorted(self.client.scan_iter(f"{prefix}:q:repeat:*"))
        hashes = [self.client.hgetall(key) for key in keys]
        jobs = [
            (fields[b"delay"], fields[b"timestamp"], json.loads(fields[b"opts"]))
            for fields in hashes
            if b"rjk" in fields
        ]
        known = self.client.hgetall(f"{prefix}:q:repeat:s")
        due = self.client.zrange(f"{prefix}:q:repeat", 0, -1, withscores=True)
        names = [key.removeprefix(prefix.encode()) for key in keys]
        return names, known, due, jobs


@pytest.fixture
def both(node: NodeDriver, redis_client: RedisConnection) -> Iterator[Both]:
    sides = Both(node, redis_client)
    for prefix in PREFIXES:
        sides.run("await queue(args.prefix, 'q');", prefix)
    yield sides
    node.run("if (globalThis.RealDate) globalThis.Date = RealDate;")


@pytest.mark.parametrize("repeat", REPEATS, ids=json.dumps)
@pytest.mark.parametrize("is_made_by_node", [True, False])
def test_each_goes_on_with_the_other_s_schedule_as_the_other_would(
    both: Both, repeat: dict[str, Any], is_made_by_node: bool
) -> None:
    """One scheduler is left to its maker, the other one is gone on with by the other side."""
    for prefix in PREFIXES:
        if is_made_by_node:
            both.run(UPSERT, prefix, repeat=repeat)
        else:
            both.upsert(prefix, repeat)
    jumps = random.Random(str(repeat))
    claimed = 0
    for _ in range(5):
        assert both.times("ours") == both.times("node")
        due_ms = max((score for _, score in both.times("node")[2]), default=0)
        late_ms = jumps.choice([0, 1, 250_000, 100 * DAY_MS])
        both.clock.advance(seconds=(max(due_ms - both.clock.now_ms(), 0) + late_ms) / 1000)
        job_id = both.claim("ours")
        assert both.run(CLAIM, "node") == job_id
        claimed += job_id is not None
    assert claimed >= 1
    assert dump(both.client, "ours") == dump(both.client, "node")


REMOVE = "await (await queue(args.prefix, 'q')).removeJobScheduler('s');"


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_done_to_a_scheduler_leaves_what_node_leaves(both: Both, seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(25):
        match draw.choice(["upsert", "upsert", "claim", "claim", "pass", "pass", "remove"]):
            case "upsert":
                repeat = draw.choice(REPEATS)
                if repeat.get("endDate", LATER_MS) > both.clock.now_ms():
                    answer = both.run(UPSERT, "node", repeat=repeat)
                    assert both.upsert("ours", repeat) == answer
            case "claim":
                assert both.claim("ours") == both.run(CLAIM, "node")
            case "pass":
                seconds = draw.choice([0.001, 0.999, 59, 60, 3600, 86_400])
                both.clock.advance(seconds=seconds)
            case "remove":
                both.run(REMOVE, "node")
                both.queues["ours"].remove_job_scheduler("s")
        assert both.times("ours") == both.times("node")
        assert dump(both.client, "ours") == dump(both.client, "node")


def test_workers_of_node_and_ours_share_a_schedule_and_run_each_of_its_jobs_once(
    node: NodeDriver, redis_client: RedisConnection, idle_workers_end_soon: None
) -> None:
    queue = Queue("q", redis_client)
    jobs = 20
    node.run(
        """
        globalThis.ran = [];
        await worker('bull', 'q', async (job) => { ran.push(job.id); }, { concurrency: 2 });
        """
    )
    ran: list[str] = []
    ours = Worker(queue, lambda job: ran.append(job.id), concurrency=2)
    ours.start()
    try:
        queue.upsert_job_scheduler("s", {"every": 20, "limit": jobs}, {"name": "x"})
        wait_until(lambda: queue.get_job_counts("completed")["completed"] == jobs, "all are run")
    finally:
        ours.close(1.0)
    ran += node.run("return ran;")
    assert len(set(ran)) == len(ran) == jobs
    scheduler = queue.get_job_scheduler("s")
    assert scheduler is not None
    assert scheduler.iteration_count == jobs
    assert queue.count() == 0


@pytest.mark.parametrize("pattern", ["H/5 * * * * *", "* * * * * 1-3L"])
def test_node_goes_on_with_a_schedule_that_only_it_can_read_after_we_claimed_its_job(
    both: Both, pattern: str
) -> None:
    both.run(UPSERT, "node", repeat={"pattern": pattern, "immediately": True})
    [(name, pending_ms)] = both.times("node")[2]
    ran: list[str] = []
    queue = both.queues["node"]
    assert Worker(queue, lambda job: ran.append(job.id)).step()
    assert (ran, both.times("node")[2]) == ([], [(name, pending_ms)])
    both.clock.advance(seconds=1)
    assert both.run(CLAIM, "node") == f"repeat:s:{int(pending_ms)}"
    [(_, next_ms)] = both.times("node")[2]
    assert next_ms > both.clock.now_ms()
    job = queue.get_job(f"repeat:s:{int(next_ms)}")
    assert job is not None
    assert job.is_delayed()


def pattern_field(draw: random.Random, lowest: int, highest: int) -> str:
    first, last = sorted(draw.choices(range(lowest, highest + 1), k=2))
    step = draw.randint(1, 9)
    forms = (
        "*",
        "*",
        "?",
        f"{first}",
        f"{first}-{last}",
        f"*/{step}",
        f"{first}/{step}",
        f"{first}-{last}/{step}",
        f"{last}-{first}",
        f"{first},{last}",
    )
    return draw.choice(forms)


def draw_pattern(draw: random.Random) -> str:
    days = (pattern_field(draw, 1, 31), pattern_field(draw, 1, 31), "L", "L,15")
    weekday = draw.randint(0, 7)
    name = draw.choice(["sun", "MON", "tue"])
    weekdays = ("*", pattern_field(draw, 0, 7), f"{weekday}L", f"{weekday}#{weekday}", name)
    months = ("*", "*", pattern_field(draw, 1, 12), "feb", "JAN,11")
    fields = [
        pattern_field(draw, 0, 59),
        pattern_field(draw, 0, 59),
        pattern_field(draw, 0, 23),
        draw.choice(days),
        draw.choice(months),
        draw.choice(weekdays),
    ]
    whole = " ".join(fields[draw.choice((0, 1, 1, 1, 3)) :])
    return draw.choice([whole] * 12 + ["@daily", "@weekends", "H * * * *", "15W * *", "0 0 30 2 *"])


ZONES = (
    "UTC",
    "Europe/Rome",
    "America/New_York",
    "America/Santiago",
    "Asia/Kathmandu",
    "Pacific/Auckland",
    "Africa/Cairo",
)
# A few hours around these, clocks are changed in one of the zones.
CHANGES_MS = (1_774_746_000_000, 1_792_890_000_000, 1_772_953_200_000, 1_788_667_200_000)
NEXT_TIMES = """
    const require = (await import('node:module')).createRequire(process.cwd() + '/x.js');
    const { CronExpressionParser } = require('cron-parser');
    return args.cases.map(([pattern, tz, after]) => {
      if (pattern.includes('H')) return 'refused';
      try {
        const times = CronExpressionParser.parse(pattern, { tz, currentDate: new Date(after) });
        return times.next().getTime();
      } catch { return 'refused'; }
    });
"""


def our_next_time(pattern: str, zone: str, after_ms: int) -> int | str:
    try:
        due_ms = next_time(read_pattern(pattern), read_zone(zone), after_ms)
    except InvalidJobOptions:
        return "refused"
    # Node knows of some patterns at once that they name no day at all.
    return "refused" if due_ms is None else due_ms


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2, 3))]
)
def test_patterns_name_the_times_that_node_s_parser_finds(node: NodeDriver, seed: int) -> None:
    draw = random.Random(seed)
    cases = []
    for _ in range(1000):
        near = draw.choice(CHANGES_MS) + draw.randint(-8, 8) * 1_800_000
        after_ms = draw.choice([near, near + 1, draw.randint(NOW_MS, 2 * NOW_MS // 10 * 6)])
        cases.append((draw_pattern(draw), draw.choice(ZONES), after_ms))
    theirs = node.run(NEXT_TIMES, cases=cases)
    assert [(*case, our_next_time(*case)) for case in cases] == [
        (*case, answer) for case, answer in zip(cases, theirs, strict=True)
    ]
    assert sum(answer != "refused" for answer in theirs) > len(cases) / 2
