"""A report every Monday at 8, whichever worker is there; a week that nobody worked is left out.

REDIS_URL=redis://127.0.0.1 BOOKS=books.db feedmill worker --app weekly_report
"""

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from feedmill import Job, queue

BOOKS, FOLDER = os.environ.get("BOOKS", "books.db"), Path(os.environ.get("REPORTS", "reports"))


@queue("reports", attempts=3, backoff="5m", keep={"count": 52})
def report(job: Job[str]) -> str:
    """Write what has been booked so far, and return where; the data is who it is for."""
    day = datetime.fromtimestamp(job.timestamp / 1000, UTC).date()
    path = FOLDER / f"{day:%G-W%V}.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"For {job.data}: {booked_cents() / 100:.2f} booked by {day}\n")
    return str(path)


report.schedule("0 8 * * 1", "the board", tz="Europe/Rome")


def booked_cents() -> int:
    """Return the sum of all bookings, 0 before there are any."""
    with closing(sqlite3.connect(BOOKS)) as books:
        books.execute("CREATE TABLE IF NOT EXISTS bookings (id PRIMARY KEY, iban, cents)")
        return int(books.execute("SELECT coalesce(sum(cents), 0) FROM bookings").fetchone()[0])
