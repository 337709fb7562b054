"""huey on Redis: one task a call, as its API has it; taken and executed in a bare loop."""

import json
import sys
import time

import redis
from huey import RedisHuey

URL, COUNT = sys.argv[1], int(sys.argv[2])

client = redis.Redis.from_url(URL)
client.flushdb()
huey = RedisHuey("bench", url=URL, results=False)


@huey.task()
def handle(source: str, guid: str, summary: str) -> None:
    """Do nothing."""


started_s = time.perf_counter()
for number in range(COUNT):
    handle("board", str(number), "x" * 560)
added_s = time.perf_counter()
for _ in range(COUNT):
    huey.execute(huey.dequeue())
drained_s = time.perf_counter()
client.flushdb()
print(json.dumps({"add": COUNT / (added_s - started_s), "drain": COUNT / (drained_s - added_s)}))
