-- line_up: delayed|completed|failed -> waiting
-- Refused: newer than asked for. As in BullMQ, all go to the back of the line whatever their
--   priority, and delayed ones keep their field `delay`.
-- Uses: layout, retrying
-- KEYS[1] base of the queue's keys
-- ARGV[1] state, [2] newest score or "+inf", [3] most jobs
-- Returns how many were looked at, and how many were moved: ids without a hash are dropped
local queue, state, newest, limit = queue_at(KEYS[1]), ARGV[1], ARGV[2], tonumber(ARGV[3])
allow_when_full(queue)
local meta = read_meta(queue)
local ids = redis.call("ZRANGEBYSCORE", queue[state], 0, newest, "LIMIT", 0, limit)
local moved = 0
if #ids > 0 then
  ensure_max_events(queue, meta)
end
for _, id in ipairs(ids) do
  redis.call("ZREM", queue[state], id)
  if is_job(queue.base .. id) then
    if state ~= "delayed" then
      forget_end(queue, id, state)
    end
    redis.call("LPUSH", queue.wait, id)
    emit_capped(queue, meta, "waiting", "jobId", id, "prev", state)
    moved = moved + 1
  end
end
if moved > 0 then
  wake(queue, meta)
end
return { #ids, moved }
