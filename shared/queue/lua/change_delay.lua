-- change_delay: delayed -> delayed
-- Refused: not delayed. The new delay counts from now.
-- KEYS[1] base of the queue's keys
-- ARGV[1] now in ms, [2] id, [3] delay in ms
-- Returns "moved", "missing" or "wrong_state"
local queue, now_ms, id, delay_ms = queue_at(KEYS[1]), tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
allow_when_full(queue)
if not is_job(queue.base .. id) then
  return "missing"
end
if not redis.call("ZSCORE", queue.delayed, id) then
  return "wrong_state"
end
local meta = read_meta(queue)
ensure_max_events(queue, meta)
delay(queue, meta, id, now_ms, delay_ms)
wake_later(queue)
return "moved"
