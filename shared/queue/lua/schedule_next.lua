-- schedule_next: absent -> waiting|prioritized|delayed
-- Refused: "other" when the claimed job is not the one that its scheduler has pending, or there is no
--   such scheduler, or none that makes sense: so a job makes its successor once, however often it is claimed. "blocked" when
--   another job has the id of the successor.
--   Needs memory: refused as a whole by a full Redis.
-- Uses: layout, lines, placing, scheduling
-- KEYS[1] base of the queue's keys
-- ARGV[1] now in ms; [2] the scheduler's id; [3] the claimed job's id; [4] when the next job is due, in
--   ms, or "" where it recurs [5] every so many ms, else ""; [6] opts (JSON) of the next job without its
--   id and delay; [7] priority; [8] "1" for the front of the line
-- Returns "scheduled", "other" or "blocked", and the id of the next job
local queue, now_ms, claimed_id = queue_at(KEYS[1]), tonumber(ARGV[1]), ARGV[3]
local due_ms, every = tonumber(ARGV[4]), tonumber(ARGV[5])
local run = { opts = ARGV[6], priority = ARGV[7], lifo = ARGV[8] == "1" }

local scheduler = scheduler_at(queue, ARGV[2])
local pending_ms = read_pending_ms(scheduler)
local known = redis.call("HMGET", scheduler.key, "name", "data", "every", "offset")
run.name, run.data = known[1], known[2] or "{}"
every = whole(known[3], 1, MAX_WHOLE) or whole(every, 1, MAX_WHOLE)
if not pending_ms or not run.name or not (every or due_ms) or id_of_run(scheduler, pending_ms) ~= claimed_id then
  return { "other", "" }
end
if every then
  due_ms = slot_after(pending_ms, every, whole(known[4], 0, MAX_WHOLE) or 0, now_ms)
end
local meta, next_id = read_meta(queue), id_of_run(scheduler, due_ms)
ensure_max_events(queue, meta)
if redis.call("EXISTS", queue.base .. next_id) == 1 then
  emit_capped(queue, meta, "duplicated", "jobId", next_id)
  return { "blocked", next_id }
end
-- The first write is one that a full Redis refuses: nothing has changed then.
increase(queue.id, 1)
increase_field(scheduler.key, "ic", 1)
add_run(queue, meta, scheduler, run, due_ms, now_ms)
return { "scheduled", next_id }
