"""Bank accounts, read page by page: progress is seen, and a stop costs no page twice.

REDIS_URL=redis://127.0.0.1 BANK_URL=https://bank.example feedmill worker --app bank_sync
REDIS_URL=redis://127.0.0.1 python bank_sync.py IT60X0542811101000000123456
"""

import json
import os
import sqlite3
import sys
from contextlib import closing
from typing import Any
from urllib.request import urlopen

from pydantic import BaseModel

from feedmill import Job, queue

BANK_URL, BOOKS = os.environ.get("BANK_URL", ""), os.environ.get("BOOKS", "books.db")


class Account(BaseModel):
    """An account, and how many of its pages are booked."""

    iban: str
    done: int = 0


@queue("bank-sync", weight="medium", attempts=8, backoff="1m exp", timeout="30m")
def sync(job: Job[Account]) -> int:
    """Book an account's pages; what is stopped, or fails, goes on behind the last one."""
    account = job.data
    while (page := read_page(account))["bookings"]:
        book(account, page["bookings"])
        account = account.model_copy(update={"done": account.done + 1})
        job.update_data(account.model_dump())
        job.progress({"page": account.done, "of": page["pages"]})
    return account.done


def read_page(account: Account) -> dict[str, Any]:
    """Return the first page that is not booked; behind the last comes an empty one."""
    with urlopen(f"{BANK_URL}/{account.iban}?page={account.done + 1}", timeout=30) as answer:
        page: dict[str, Any] = json.load(answer)
    return page


def book(account: Account, bookings: list[dict[str, Any]]) -> None:
    """Book each once: a page may be read again if the machine fails in between."""
    with closing(sqlite3.connect(BOOKS)) as books, books:
        books.execute("CREATE TABLE IF NOT EXISTS bookings (id PRIMARY KEY, iban, cents)")
        rows = [(each["id"], account.iban, each["cents"]) for each in bookings]
        books.executemany("INSERT OR IGNORE INTO bookings VALUES (?, ?, ?)", rows)


if __name__ == "__main__":
    sync.add(Account(iban=sys.argv[1]), dedup=sys.argv[1])
