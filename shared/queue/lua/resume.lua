-- resume: no job moves, but those that an old BullMQ parked in `paused`
-- KEYS[1] base of the queue's keys
-- Returns "resumed"
local queue = queue_at(KEYS[1])
allow_when_full(queue)
redis.call("HDEL", queue.meta, "paused")
while redis.call("RPOPLPUSH", queue.paused, queue.wait) do end

if redis.call("LLEN", queue.wait) + redis.call("ZCARD", queue.prioritized) > 0 then
  redis.call("ZADD", queue.marker, 0, "0")
else
  wake_later(queue)
end
emit(queue, "resumed")
return "resumed"
