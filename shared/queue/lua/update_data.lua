-- update_data: no job moves; it carries other data
-- KEYS[1] base of the queue's keys
-- ARGV[1] id, [2] data (JSON)
-- Returns "updated" or "missing"
local queue, id, data = queue_at(KEYS[1]), ARGV[1], ARGV[2]
local key = queue.base .. id
if not is_job(key) then
  return "missing"
end
redis.call("HSET", key, "data", data)
return "updated"
