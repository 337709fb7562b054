-- retry_finished: completed|failed -> waiting|prioritized
-- Refused: not in the state that is named. Its attempts keep counting unless they are reset.
-- Uses: layout, retrying
-- KEYS[1] base of the queue's keys
-- ARGV[1] id, [2] state; then the fields to reset: "atm", "ats"
-- Returns "moved", "missing" or "wrong_state"
local queue, id, state = queue_at(KEYS[1]), ARGV[1], ARGV[2]
local key, FIRST_FIELD = queue.base .. id, 3
allow_when_full(queue)
local was_there = redis.call("ZREM", queue[state], id) == 1
-- An id whose hash is gone leaves the set all the same.
if not is_job(key) then
  return "missing"
end
if not was_there then
  return "wrong_state"
end
local meta = read_meta(queue)
ensure_max_events(queue, meta)
forget_end(queue, id, state, unpack(ARGV, FIRST_FIELD))
local opts = decode(redis.call("HGET", key, "opts"))
push(queue, id, number_field(key, "priority"), opts.lifo == true)
wake(queue, meta)
emit_capped(queue, meta, "waiting", "jobId", id, "prev", state)
return "moved"
