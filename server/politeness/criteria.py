"""What is asked of a polite reader, numbered as in the checklist it comes from (1 to 12)."""

from server.politeness.conditions import (
    judge_conditionality,
    judge_exactness,
    judge_redirected,
    judge_replacement,
)
from server.politeness.grading import Criterion, Grade
from server.politeness.log import Log
from server.politeness.manners import (
    judge_agent,
    judge_compression,
    judge_endings,
    judge_privacy,
    judge_scope,
)
from server.politeness.pace import (
    judge_backoff,
    judge_crowds,
    judge_gaps,
    judge_hints,
    judge_retry_after,
)

CRITERIA = (
    Criterion(1, "first request unconditional, later ones conditional", judge_conditionality),
    Criterion(2, "validators exactly as last received", judge_exactness),
    Criterion(3, "both validators replaced on every 200", judge_replacement),
    Criterion(4, "one poll an hour, one a day without conditions", judge_gaps),
    Criterion(5, "Cache-Control, Expires, ttl, skipHours, skipDays", judge_hints),
    Criterion(6, "Retry-After of 429 and 503, for the whole host", judge_retry_after),
    Criterion(7, "no cookies, referrer or added query", judge_privacy),
    Criterion(8, "informative User-Agent", judge_agent),
    Criterion(9, "gzip accepted", judge_compression),
    Criterion(10, "redirects followed and reported; 410 stops", judge_endings),
    Criterion(11, "validators not carried across a redirect", judge_redirected),
    Criterion(12, "no requests but for the feeds", judge_scope),
    Criterion(13, "back-off grows, and never gives up", judge_backoff),
    Criterion(14, "few requests at a time to one host, spread", judge_crowds),
)


def grade(log: Log) -> Grade:
    """Judge a log by all criteria."""
    return Grade([criterion.apply(log) for criterion in CRITERIA])
