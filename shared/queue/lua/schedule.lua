-- schedule: absent -> waiting|prioritized|delayed
-- Refused: "taken" when another job has the id of the one to come (where it recurs every so many ms:
--   of the 32 to come). The scheduler's pending job, if it is not claimed, is replaced.
--   Needs memory: refused as a whole by a full Redis.
-- Uses: layout, flows, lines, placing, removing, scheduling
-- KEYS[1] base of the queue's keys
-- ARGV[1] now in ms; [2] the scheduler's id; [3] when the first job is due, in ms, or "" where it recurs
--   [4] every so many ms, else ""; [5] how far these are moved, in ms, or ""; [6] when to begin, or "";
--   [7] name of the jobs; [8] their data (JSON); [9] opts (JSON) of the first without its id and delay;
--   [10] priority; [11] "1" for the front of the line; then fields and values to remember
-- Returns "scheduled", the id of the job to come and its fields; or "taken" and that id
local queue, now_ms, scheduler_id = queue_at(KEYS[1]), tonumber(ARGV[1]), ARGV[2]
local due_ms, every = tonumber(ARGV[3]), tonumber(ARGV[4])
local offset, start_ms = tonumber(ARGV[5]), tonumber(ARGV[6])
local run = {
  name = ARGV[7], data = ARGV[8], opts = ARGV[9], priority = ARGV[10], lifo = ARGV[11] == "1",
}
local FIRST_FIELD, MAX_SLOTS = 12, 32

local scheduler = scheduler_at(queue, scheduler_id)
local pending_ms = read_pending_ms(scheduler)
local pending_id = pending_ms and id_of_run(scheduler, pending_ms)
local is_replaced = pending_id and is_in_line(queue, pending_id)
local known = redis.call("HMGET", scheduler.key, "every", "offset", "ic")
local known_every, known_offset, iterations = tonumber(known[1]), known[2], known[3]

local function first_slot()
  if pending_ms and known_every == every then
    return is_replaced and pending_ms or slot_after(pending_ms, every, offset or 0, now_ms)
  elseif start_ms then
    return math.max(start_ms, now_ms)
  elseif offset and offset > 0 then
    return next_slot(every, offset, now_ms)
  end
  return now_ms
end

local function is_taken(slot_ms)
  local id = id_of_run(scheduler, slot_ms)
  return redis.call("EXISTS", queue.base .. id) == 1 and not (is_replaced and id == pending_id)
end

local function find_free_slot(slot_ms)
  local left = every and MAX_SLOTS or 0
  while left > 0 and is_taken(slot_ms) do
    slot_ms, left = slot_ms + every, left - 1
  end
  return slot_ms
end

-- A replaced job's offset stays, also under another `every`, as in Node.
local function offset_to_remember(slot_ms)
  if offset and offset > 0 then
    return digits(offset)
  elseif is_replaced then
    return known_offset
  end
  return every and digits(slot_ms % every) or "0"
end

local function remember(slot_ms)
  local kept = offset_to_remember(slot_ms)
  redis.call("DEL", scheduler.key)
  redis.call("HSET", scheduler.key, "ic", iterations or "1", unpack(ARGV, FIRST_FIELD))
  if kept then
    redis.call("HSET", scheduler.key, "offset", kept)
  end
end

due_ms = find_free_slot(every and first_slot() or due_ms)
if is_taken(due_ms) then
  return { "taken", id_of_run(scheduler, due_ms) }
end
local meta = read_meta(queue)
ensure_max_events(queue, meta)
-- The first write is one that a full Redis refuses: nothing has changed then.
increase(queue.id, 1)
if is_replaced then
  remove_pending(queue, pending_id)
end
remember(due_ms)
add_run(queue, meta, scheduler, run, due_ms, now_ms)
return { "scheduled", run.id, redis.call("HGETALL", queue.base .. run.id) }
