-- update_progress: no job moves; a job tells how far it has come
-- KEYS[1] base of the queue's keys
-- ARGV[1] id, [2] progress (JSON)
-- Returns "updated" or "missing"
local queue, id, progress = queue_at(KEYS[1]), ARGV[1], ARGV[2]
local key = queue.base .. id
allow_when_full(queue)
if not is_job(key) then
  return "missing"
end
local meta = read_meta(queue)
ensure_max_events(queue, meta)
redis.call("HSET", key, "progress", progress)
emit_capped(queue, meta, "progress", "jobId", id, "data", progress)
return "updated"
