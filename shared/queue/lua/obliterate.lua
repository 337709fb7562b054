-- obliterate: waiting|prioritized|delayed|waiting-children|active|completed|failed -> absent
-- Refused: while the queue is not paused, or while jobs are active unless they are to go too. What
--   BullMQ leaves stays: the limiter, and parents whose children are in other queues.
-- Uses: layout, flows, lines, removing
-- KEYS[1] base of the queue's keys
-- ARGV[1] "1" for active jobs too, [2] most jobs
-- Returns "not_paused", "has_active", "more" or "done"
local queue, with_active, budget = queue_at(KEYS[1]), ARGV[1] == "1", tonumber(ARGV[2])
local SETTINGS = {
  "events", "delay", "stalled-check", "stalled", "id", "pc", "marker", "meta", "metrics:completed",
  "metrics:completed:data", "metrics:failed", "metrics:failed:data", "own:totals", "own:lined",
}
if redis.call("HEXISTS", queue.meta, "paused") == 0 then
  return "not_paused"
end
if not with_active and redis.call("LLEN", queue.active) > 0 then
  return "has_active"
end
allow_when_full(queue)

local function erase_all(ids)
  erase(queue, ids)
  budget = budget - #ids
end

local function clear_list(list, is_locked)
  if budget <= 0 then
    return
  end
  local ids = redis.call("LRANGE", list, 0, budget - 1)
  redis.call("LTRIM", list, #ids, -1)
  if is_locked then
    call_in_chunks("DEL", nil, locks_of(queue, ids))
  end
  erase_all(ids)
end

local function clear_set(set)
  if budget <= 0 then
    return
  end
  local ids = redis.call("ZRANGE", set, 0, budget - 1)
  call_in_chunks("ZREM", set, ids)
  erase_all(ids)
end

clear_list(queue.active, true)
clear_set(queue.delayed)
local schedulers = queue.base .. "repeat"
local ids = budget > 0 and redis.call("ZRANGE", schedulers, 0, budget - 1) or {}
for _, id in ipairs(ids) do
  redis.call("DEL", schedulers .. ":" .. id)
end
call_in_chunks("ZREM", schedulers, ids)
budget = budget - #ids
clear_set(queue.completed)
clear_list(queue.wait)
clear_list(queue.paused)
clear_set(queue.prioritized)
clear_set(queue.failed)
if budget <= 0 then
  return "more"
end
forget_lines(queue)
for _, name in ipairs(SETTINGS) do
  redis.call("DEL", queue.base .. name)
end
return "done"
