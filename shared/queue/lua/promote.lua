-- promote: delayed -> waiting|prioritized
-- Refused: not delayed. Due or not, and also while the queue is paused.
-- KEYS[1] base of the queue's keys
-- ARGV[1] id
-- Returns "moved", "missing" or "wrong_state"
local queue, id = queue_at(KEYS[1]), ARGV[1]
local key = queue.base .. id
check_keys(queue)
allow_when_full(queue)
local was_delayed = redis.call("ZREM", queue.delayed, id) == 1
-- An id whose hash is gone leaves the set all the same.
if not is_job(key) then
  return "missing"
end
if not was_delayed then
  return "wrong_state"
end
push(queue, id, number_field(key, "priority"), false)
wake(queue, read_meta(queue))
emit(queue, "waiting", "jobId", id, "prev", "delayed")
redis.call("HSET", key, "delay", "0")
return "moved"
