"""dramatiq on Redis: one message a call, as its API has it; one worker with eight threads."""

import json
import sys
import threading
import time

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker

URL, COUNT = sys.argv[1], int(sys.argv[2])
THREADS = 8

client = redis.Redis.from_url(URL)
client.flushdb()
broker = RedisBroker(url=URL)
dramatiq.set_broker(broker)
is_drained = threading.Event()
handled = 0
counting = threading.Lock()


@dramatiq.actor
def handle(source: str, guid: str, summary: str) -> None:
    """Count, to know when all are done."""
    global handled
    with counting:
        handled += 1
        if handled == COUNT:
            is_drained.set()


started_s = time.perf_counter()
for number in range(COUNT):
    handle.send("board", str(number), "x" * 560)
added_s = time.perf_counter()
worker = dramatiq.Worker(broker, worker_threads=THREADS)
worker.start()
is_drained.wait()
drained_s = time.perf_counter()
worker.stop()
client.flushdb()
print(json.dumps({"add": COUNT / (added_s - started_s), "drain": COUNT / (drained_s - added_s)}))
