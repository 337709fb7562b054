-- change_priority: waiting|prioritized -> waiting|prioritized
-- Refused: nothing that is there. A job in another state takes its place when it comes into line.
-- KEYS[1] base of the queue's keys
-- ARGV[1] id, [2] priority, [3] "1" to go before all others of that priority
-- Returns "moved" or "missing"
local queue, id, priority, to_front = queue_at(KEYS[1]), ARGV[1], tonumber(ARGV[2]), ARGV[3] == "1"
local key = queue.base .. id
check_keys(queue)
allow_when_full(queue)
if not is_job(key) then
  return "missing"
end
local was_in_line = redis.call("ZREM", queue.prioritized, id) == 1
  or redis.call("LREM", queue.wait, -1, id) > 0
if was_in_line and to_front and priority > 0 then
  push_to_front(queue, id, priority)
elseif was_in_line then
  push(queue, id, priority, to_front)
  wake(queue, read_meta(queue))
end
redis.call("HSET", key, "priority", priority)
return "moved"
