"""Removing jobs one by one."""

from tests.interop.pairs import CLAIM, Step, Twin


def remove(job_id: str) -> Step:
    return f"await q.remove('{job_id}');", lambda ours: ours.queue().remove(job_id)


TWINS = [
    Twin(
        "remove a waiting job among others",
        [remove("b"), CLAIM],
        seed="for (const jobId of ['a', 'b', 'c']) await q.add('x', { n: 1 }, { jobId });",
    ),
    Twin(
        "remove a delayed job",
        [remove("d")],
        seed="await q.add('x', {}, { jobId: 'd', delay: 60_000 });",
    ),
    Twin(
        "remove a prioritized job",
        [remove("p")],
        seed="for (const jobId of ['p', 'r']) await q.add('x', {}, { jobId, priority: 2 });",
    ),
    Twin(
        "remove a job that a worker holds",
        [CLAIM, remove("a")],
        seed="await q.add('x', {}, { jobId: 'a' });",
    ),
]
