-- replay: dead -> waiting|prioritized
-- Refused: "kept" while a worker holds the dead letter, or where its job's id is taken in the queue that
--   it came from; "missing" where it is gone, or has other data by now. Needs memory: a full Redis
--   refuses it before anything has changed.
-- Uses: layout, flows, lines, placing, removing
-- KEYS[1] base of the queue's keys that the jobs came from, KEYS[2] base of the dead-letter queue's keys
-- ARGV[1] now in ms; then per job: dead letter's id, SHA-1 of its data, the job's id, name, data (JSON),
--   opts (JSON), priority, "1" for the front of the line
-- Returns per job "moved", "kept" or "missing"
local queue, dead_letters, now = queue_at(KEYS[1]), queue_at(KEYS[2]), ARGV[1]
local FIRST, STRIDE = 2, 8
local LISTS = { "wait", "paused", "active" }
local meta, dead_meta = read_meta(queue), read_meta(dead_letters)

local function refusal(dead_id, digest, id)
  local key = dead_letters.base .. dead_id
  local data = redis.pcall("HGET", key, "data")
  if type(data) ~= "string" or redis.sha1hex(data) ~= digest then
    return "missing"
  elseif redis.call("EXISTS", key .. ":lock", queue.base .. id) > 0 then
    return "kept"
  end
end

local function replay(at)
  local dead_id, digest, id, name, data, opts, priority, lifo = unpack(ARGV, at, at + STRIDE - 1)
  local reason = refusal(dead_id, digest, id)
  if reason then
    return reason
  end
  -- The first write, so that Redis refuses here what it has no room for.
  increase(queue.id, 1)
  ensure_max_events(queue, meta)
  ensure_max_events(dead_letters, dead_meta)
  local state = leave_state(dead_letters, dead_id, "", LISTS)
  delete_job(dead_letters, dead_id)
  emit_capped(dead_letters, dead_meta, "removed", "jobId", dead_id, "prev", state or "unknown")
  place_job(queue, meta, { id = id, name = name, data = data, opts = opts, timestamp = now, delay = "0",
    priority = priority, lifo = lifo == "1" })
  return "moved"
end

local outcomes = {}
for at = FIRST, #ARGV, STRIDE do
  outcomes[#outcomes + 1] = replay(at)
end
return outcomes
