-- drain: waiting|prioritized|delayed|waiting-children -> absent
-- Refused: the pending job of a scheduler. A parent whose children are all drained goes with them.
-- Uses: layout, flows, lines, removing
-- KEYS[1] base of the queue's keys
-- ARGV[1] "1" for delayed jobs too, [2] most jobs of each state
-- Returns how many were drained
local queue, with_delayed, limit = queue_at(KEYS[1]), ARGV[1] == "1", tonumber(ARGV[2])
allow_when_full(queue)
local pending, schedules = pending_of_schedulers(queue)
-- Those that stay may stand before all others.
local looked_at = limit + schedules
local drained = 0

local function drain(ids)
  local kept, gone = {}, {}
  for _, id in ipairs(ids) do
    local either = pending[id] and kept or gone
    either[#either + 1] = id
  end
  erase(queue, gone)
  drained = drained + #gone
  return kept, gone
end

local function drain_list(list)
  local ids = redis.call("LRANGE", list, -looked_at, -1)
  redis.call("LTRIM", list, 0, -#ids - 1)
  call_in_chunks("RPUSH", list, (drain(ids)))
end

local function drain_set(set)
  local _, gone = drain(redis.call("ZRANGE", set, 0, looked_at - 1))
  call_in_chunks("ZREM", set, gone)
end

drain_list(queue.wait)
drain_list(queue.paused)
if with_delayed then
  drain_set(queue.delayed)
end
drain_set(queue.prioritized)
if redis.call("ZCARD", queue.prioritized) == 0 then
  forget_lines(queue)
end
return drained
