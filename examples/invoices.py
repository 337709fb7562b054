"""Invoices with an idempotency key: an order has one, however often it is asked for or tried.

REDIS_URL=redis://127.0.0.1 BOOKS=books.db feedmill worker --app invoices
REDIS_URL=redis://127.0.0.1 python invoices.py 4711 19900
"""

import os
import sqlite3
import sys
from contextlib import closing

from pydantic import BaseModel

from feedmill import Job, queue

BOOKS = os.environ.get("BOOKS", "books.db")
TABLE = """CREATE TABLE IF NOT EXISTS invoices
    (number INTEGER PRIMARY KEY, order_id TEXT UNIQUE, cents INTEGER)"""


class Order(BaseModel):
    """An order that has been paid."""

    id: str
    cents: int


def ask_for_invoice(order: Order) -> Job[Order]:
    """Safe to repeat, as when a browser sends twice: the key is the order's."""
    return issue.add(order, id=f"invoice-{order.id}")


@queue("invoices", attempts=10, backoff="10s exp", keep={"age": "30d"})
def issue(job: Job[Order]) -> int:
    """Book the invoice of an order and return its number: the same in each attempt."""
    order = job.data
    with closing(sqlite3.connect(BOOKS)) as books, books:
        books.execute(TABLE)
        add = "INSERT OR IGNORE INTO invoices (order_id, cents) VALUES (?, ?)"
        books.execute(add, (order.id, order.cents))
        find = "SELECT number FROM invoices WHERE order_id = ?"
        return int(books.execute(find, (order.id,)).fetchone()[0])


if __name__ == "__main__":
    ask_for_invoice(Order(id=sys.argv[1], cents=int(sys.argv[2])))
