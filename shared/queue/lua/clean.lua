-- clean: waiting|prioritized|delayed|waiting-children|active|completed|failed -> absent
-- Refused: newer than asked for, locked, or the pending job of a scheduler. A parent in this queue
--   that loses its last child goes with it.
-- Uses: layout, flows, removing
-- KEYS[1] base of the queue's keys
-- ARGV[1] name of the state's key, [2] newest time in ms, [3] most jobs, [4] how many of the oldest
--   to pass over
-- Returns the ids that were deleted, oldest first; how many stayed of those looked at; and whether
--   there are others, 1 or 0
local queue, name, newest_ms = queue_at(KEYS[1]), ARGV[1], tonumber(ARGV[2])
local limit, offset = tonumber(ARGV[3]), tonumber(ARGV[4])
local LOOK = 500
local LINE_TIMES = { "finishedOn", "processedOn", "timestamp" }
-- The first of these fields that a job has is its age.
local TIMES = {
  wait = LINE_TIMES, active = LINE_TIMES, prioritized = { "timestamp" },
  delayed = { "processedOn", "timestamp" }, completed = { "finishedOn" }, failed = { "finishedOn" },
}
local state_key, times = queue.base .. name, TIMES[name]
local is_list, is_by_age = times == LINE_TIMES, times[1] == "finishedOn" and times ~= LINE_TIMES
allow_when_full(queue)
local pending = pending_of_schedulers(queue)

local function oldest()
  if not is_list then
    return redis.call("ZRANGE", state_key, offset, offset + LOOK - 1)
  end
  local ids, from_oldest = redis.call("LRANGE", state_key, -offset - LOOK, -offset - 1), {}
  for at = #ids, 1, -1 do
    from_oldest[#from_oldest + 1] = ids[at]
  end
  return from_oldest
end

-- What has no time, or is no job, is older than any.
local function is_newer(key)
  for _, time in ipairs(redis.pcall("HMGET", key, unpack(times))) do
    if time then
      return (whole(time, 0, MAX_WHOLE) or 0) > newest_ms
    end
  end
  return false
end

local function leave(id)
  if is_list then
    redis.call("LREM", state_key, -1, id)
  else
    redis.call("ZREM", state_key, id)
  end
end

local ids, deleted, stayed, has_more = oldest(), {}, 0, 0
local holders = read_holders(locks_of(queue, ids))
for at, id in ipairs(ids) do
  local is_too_new = is_newer(queue.base .. id)
  if #deleted == limit or (is_too_new and is_by_age) then
    break
  end
  if is_too_new or pending[id] or holders[at] then
    stayed = stayed + 1
  else
    leave(id)
    deleted[#deleted + 1] = id
  end
end
erase(queue, deleted)
if #deleted + stayed == LOOK then
  has_more = 1
end
if #deleted > 0 or offset == 0 then
  emit(queue, "cleaned", "count", #deleted)
end
if name == "active" then
  wake_for_free_slot(queue, read_meta(queue))
end
return { deleted, stayed, has_more }
