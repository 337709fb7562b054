"""Quotes, minute by minute: none is left out, and what was read wrongly can be read again.

export MONGODB_URL=mongodb://127.0.0.1 QUOTES_URL=http://quotes.example QUOTES_FROM=2026-11-28T00Z
REDIS_URL=redis://127.0.0.1 feedmill worker --app pull
"""

from datetime import datetime
from os import environ
from pathlib import Path
from urllib.request import urlopen

from feedmill import Job, UnrecoverableError, queue
from shared.intervals import IntervalIndexer, StaleEpoch, every

QUOTES, FIRST = environ["QUOTES_URL"], datetime.fromisoformat(environ["QUOTES_FROM"])
minutes = IntervalIndexer.open(environ["MONGODB_URL"], "pull", every(60), start=FIRST, in_flight=9)


@queue("pull", attempts=5, backoff="1s exp")
def pull(job: Job[tuple[datetime, datetime, int]]) -> None:
    """Read and store one minute's quotes; rolled back meanwhile, it ends without a retry."""
    start, _, epoch = job.data
    try:
        minutes.validate(epoch)
        quotes = urlopen(f"{QUOTES}?start={start:%Y-%m-%dT%H:%MZ}", timeout=30).read()
        minutes.validate(epoch)
    except StaleEpoch as exc:
        raise UnrecoverableError(str(exc)) from exc
    Path(f"{start:%Y-%m-%dT%H%M}.quotes").write_bytes(quotes)
    minutes.complete(job.data)


@queue("minutes")
def dispatch(_: Job) -> None:
    """Add a job for each minute that has passed; one that is there already is not added again."""
    for minute in minutes.hand_out():
        pull.add(minute, id=f"{minute.start:%Y-%m-%dT%H%M}-{minute.epoch}")


dispatch.schedule("15s")
