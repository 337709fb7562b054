-- BullMQ's metrics: how many jobs ended, in all and in each minute.

-- Counts jobs that ended now; of the minutes before, `max_minutes` are kept, the newest on the left. A
-- minute is written down when the first job of a later one ends; those without any in between are 0.
local function count_ended(queue, state, ended, max_minutes, now_ms)
  local key = queue.base .. "metrics:" .. state
  increase_field(key, "count", ended)
  local before = math.max(number_field(key, "count") - ended, 0)
  local last_ms = whole(redis.call("HGET", key, "prevTS"), 0, MAX_WHOLE)
  if not last_ms then
    redis.call("HSET", key, "prevTS", string.format("%.0f", now_ms), "prevCount", 0)
    return
  end
  local minutes = math.min(math.floor(now_ms / 60000) - math.floor(last_ms / 60000), max_minutes)
  if minutes < 1 then
    return
  end
  local points = { string.format("%.0f", before - number_field(key, "prevCount")) }
  for at = 2, minutes do
    points[at] = "0"
  end
  local data = key .. ":data"
  if redis.call("TYPE", data).ok ~= "list" then
    redis.call("DEL", data)
  end
  call_in_chunks("LPUSH", data, points)
  redis.call("LTRIM", data, 0, max_minutes - 1)
  redis.call("HSET", key, "prevTS", string.format("%.0f", now_ms), "prevCount",
    string.format("%.0f", before))
end
