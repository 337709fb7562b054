-- remove: waiting|prioritized|delayed|waiting-children|active|completed|failed -> absent
-- Refused: "locked" while somebody holds its lock; with a token, unless that token holds it. Its
--   own children stay where they are.
-- Uses: layout, flows, removing
-- KEYS[1] base of the queue's keys
-- ARGV[1] state to remove from, or "" for any; [2] "1" to say so job by job, "0" to say how many;
--   [3] token that must hold the jobs, or "" for none; [4] tally field or ""; then the ids
-- Returns per job "removed", "locked" or "missing"
local queue, only_state, tells_each = queue_at(KEYS[1]), ARGV[1], ARGV[2] == "1"
local token, tally_field = ARGV[3], ARGV[4]
local holder = token ~= "" and token
local FIRST = 5
-- What a token holds is active: the line, which may be long, is not searched for it.
local LISTS = holder and { "active", "wait", "paused" } or { "wait", "paused", "active" }
allow_when_full(queue)
local meta = read_meta(queue)
ensure_max_events(queue, meta)

local function remove(id)
  local key = queue.base .. id
  local is_there = redis.call("EXISTS", key) == 1
  if redis.call("GET", key .. ":lock") ~= holder then
    return (is_there or not holder) and "locked" or "missing"
  end
  local state = is_there and leave_state(queue, id, only_state, LISTS)
  if not is_there or (only_state ~= "" and not state) then
    return "missing"
  end
  local fields = is_job(key) and redis.call("HMGET", key, "parentKey", "parent", "deid", "tally")
    or {}
  local parent_key, parent, dedup_id, tally = fields[1], fields[2], fields[3], fields[4]
  try(leave_parent, parent_key, parent, key)
  free_deduplication(queue, id, dedup_id)
  delete_job(queue, id)
  if holder then
    redis.call("DEL", key .. ":lock")
    redis.call("SREM", queue.stalled, id)
  end
  raise_tally(queue, tally, tally_field)
  if tells_each then
    emit_capped(queue, meta, "removed", "jobId", id, "prev", state or "unknown")
  end
  return "removed"
end

local outcomes, removed = {}, 0
for at = FIRST, #ARGV do
  local outcome = remove(ARGV[at])
  outcomes[#outcomes + 1] = outcome
  removed = removed + (outcome == "removed" and 1 or 0)
end
if holder and removed > 0 then
  wake_for_free_slot(queue, meta)
end
if not tells_each then
  emit(queue, "cleaned", "count", removed)
end
return outcomes
