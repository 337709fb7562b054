"""Twins: an operation done by Node and by us, each under a prefix of its own.

A twin is a list of steps. A step is JavaScript for Node's side and a function for ours; after each
of them both sides hold the same keys, fields and events, and if the JavaScript returns something,
our function returns the same: a key of Node's as if it were ours. The JavaScript sees ``q`` (the
queue ``q``), ``w`` (a worker on it that runs nothing by itself), ``f`` (a flow producer), ``P``
(its prefix) and the helpers of ``driver.mjs``; what the next step needs it keeps in ``globalThis``.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from feedmill import Queue
from shared.queue import ClaimedJob, JobQueue, RateLimit, RedisConnection
from tests.interop.dumps import dump
from tests.interop.node_driver import NodeDriver

LOCK_MS = 30_000
NODE, OURS = "node", "ours"
# Made where a step names them: each has connections of its own.
_MADE = {
    "q": "const q = await queue(P, 'q');",
    "w": "const w = await hand(P, 'q', args.options);",
    "f": "const f = await flow(P);",
}


@dataclass
class Ours:
    """Our side: queues by name, and the last claimed job."""

    client: RedisConnection
    _queues: dict[str, Queue] = field(default_factory=dict)
    job: ClaimedJob | None = None

    def queue(self, name: str = "q") -> Queue:
        if name not in self._queues:
            self._queues[name] = Queue(name, self.client, prefix=OURS)
        return self._queues[name]

    def core(self, name: str = "q") -> JobQueue:
        return self.queue(name).core

    def claim(
        self,
        token: str = "t",
        name: str = "q",
        rate_limit: RateLimit | None = None,
        worker_name: str | None = None,
    ) -> ClaimedJob | None:
        """Claim one job; kept as ``job``."""
        queue = self.core(name)
        claim = queue.claim(
            limit=1,
            lock_ms=LOCK_MS,
            token=token,
            rate_limit=rate_limit,
            reads_whole=True,
            worker_name=worker_name,
        )
        # Tokens are used again here, as Node allows; our record of the claim would answer again.
        self.client.delete(f"{queue.keys.base}own:claim:{token}")
        self.job = claim.jobs[0] if claim.jobs else None
        return self.job


Step = tuple[str, Callable[[Ours], object]]


@dataclass(frozen=True)
class Twin:
    """``name`` says what is done. ``seed``: JavaScript that Node does on both sides first.

    ``queues`` are there from the beginning, as if Node had opened them. ``worker`` are the options
    of ``w``. ``volatile``: see :func:`dump`.
    """

    name: str
    steps: Sequence[Step]
    seed: str = ""
    queues: Sequence[str] = ("q",)
    worker: dict[str, Any] = field(default_factory=dict)
    volatile: Sequence[str] = ()


CLAIM: Step = (
    "globalThis.job = await w.getNextJob('t', { block: false });",
    lambda ours: ours.claim(),
)


def check_twin(twin: Twin, node: NodeDriver, client: RedisConnection) -> None:
    """Do all steps of a twin on both sides; what they leave is the same after each."""
    for prefix in (NODE, OURS):
        for name in twin.queues:
            node.run("await queue(args.prefix, args.name)", prefix=prefix, name=name)
        _run(twin, node, prefix, twin.seed)
    ours = Ours(client)
    for number, (code, act) in enumerate(twin.steps, start=1):
        answer = _run(twin, node, NODE, code)
        own_answer = act(ours)
        if answer is not None:
            as_ours = json.loads(json.dumps(answer).replace(f'"{NODE}:', f'"{OURS}:'))
            assert own_answer == as_ours, f"step {number}: {code.strip()}"
        theirs = dump(client, NODE, twin.volatile)
        assert dump(client, OURS, twin.volatile) == theirs, f"step {number}: {code.strip()}"


def _run(twin: Twin, node: NodeDriver, prefix: str, code: str) -> Any:
    made = [make for name, make in _MADE.items() if re.search(rf"\b{name}\b", code)]
    head = " ".join(["const P = args.prefix;", *made])
    return node.run(head + code, prefix=prefix, options=twin.worker)
