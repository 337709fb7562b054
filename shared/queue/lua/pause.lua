-- pause: no job moves; claims find nothing until the queue is resumed
-- KEYS[1] base of the queue's keys
-- Returns "paused"
local queue = queue_at(KEYS[1])
allow_when_full(queue)
redis.call("HSET", queue.meta, "paused", "1")
redis.call("DEL", queue.marker)
emit(queue, "paused")
return "paused"
