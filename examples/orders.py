"""Orders, and a warehouse that may be down: they wait, fail, alert, and are put back in the end.

REDIS_URL=redis://127.0.0.1 WAREHOUSE=http://w ALERTS=http://chat feedmill worker --app orders
REDIS_URL=redis://127.0.0.1 python orders.py order 4711
REDIS_URL=redis://127.0.0.1 python orders.py replay
"""

import json
import os
import sys
from typing import Any
from urllib.request import Request, urlopen

from feedmill import Breaker, Job, queue

WAREHOUSE, ALERTS = os.environ.get("WAREHOUSE", ""), os.environ.get("ALERTS", "")
PAUSE_S = float(os.environ.get("WAREHOUSE_PAUSE_S", "30"))


def is_away(error: BaseException) -> bool:
    """Return whether it is the warehouse that fails, not an order; urllib's errors are such."""
    return isinstance(error, OSError)


warehouse = Breaker("warehouse", failures=5, pause_s=PAUSE_S, is_trip=is_away)


@queue("orders", attempts=3, backoff="10s exp", dead_letter="orders_dead", breaker=warehouse)
def reserve(job: Job[str]) -> None:
    """Reserve the goods of an order; then it is packed."""
    post(f"{WAREHOUSE}/reservations", {"order": job.data})
    pack.add(job.data, id=f"pack-{job.data}")


def alert(job: Job[str], error: BaseException) -> None:
    """Tell people; the order is among the dead letters."""
    post(f"{ALERTS}/alerts", {"text": f"order {job.data}: {error}"})


reserve.on_failed(alert)


@queue("packing")
def pack(job: Job[str]) -> str:
    """Print what somebody is to pack."""
    return f"parcel for order {job.data}"


def post(url: str, body: dict[str, Any]) -> None:
    """Send JSON; raises ``OSError`` for whatever goes wrong."""
    headers = {"Content-Type": "application/json"}
    urlopen(Request(url, json.dumps(body).encode(), headers), timeout=10).close()


if __name__ == "__main__":
    if sys.argv[1] == "replay":
        reserve.dead_letters.replay()
    else:
        reserve.add(sys.argv[2], id=f"order-{sys.argv[2]}")
