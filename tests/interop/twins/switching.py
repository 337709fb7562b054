"""Pausing, and what a pause does to jobs that come meanwhile."""

from tests.interop.pairs import CLAIM, Twin

TWINS = [
    Twin(
        "pause and resume with a job that waits",
        [
            ("await q.pause();", lambda ours: ours.queue().pause()),
            CLAIM,
            ("await q.resume();", lambda ours: ours.queue().resume()),
            CLAIM,
        ],
        seed="await q.add('a', {});",
    ),
    Twin(
        "resume with a delayed job alone",
        [
            ("await q.pause();", lambda ours: ours.queue().pause()),
            ("await q.resume();", lambda ours: ours.queue().resume()),
        ],
        seed="await q.add('a', {}, { delay: 60_000 });",
    ),
    Twin(
        "pause and resume of an empty queue",
        [
            ("await q.pause();", lambda ours: ours.queue().pause()),
            ("await q.resume();", lambda ours: ours.queue().resume()),
        ],
    ),
]
