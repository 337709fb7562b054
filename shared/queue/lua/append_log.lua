-- append_log: no job moves; a line is added to what its handlers logged
-- KEYS[1] base of the queue's keys
-- ARGV[1] id, [2] line, [3] how many of the newest lines to keep, or "" for all
-- Returns how many lines there are, or "missing"
local queue, id, line, keep = queue_at(KEYS[1]), ARGV[1], ARGV[2], tonumber(ARGV[3])
local key = queue.base .. id
if not is_job(key) then
  return "missing"
end
if keep == 0 then
  return 0
end
local lines = redis.call("RPUSH", key .. ":logs", line)
if keep and lines > keep then
  redis.call("LTRIM", key .. ":logs", -keep, -1)
  return keep
end
return lines
