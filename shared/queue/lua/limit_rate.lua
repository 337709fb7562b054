-- limit_rate: no job moves; how many jobs may start in a window is set or lifted; a new window begins
-- In one step, so that no change leaves the open window behind: it may last as long as a day.
-- KEYS[1] base of the queue's keys
-- ARGV[1] most jobs in a window, 0 for no limit; [2] the window in ms
-- Returns 1, or 0 where it was so already: the open window goes on
local queue = queue_at(KEYS[1])
local max_jobs, duration_ms = tonumber(ARGV[1]), tonumber(ARGV[2])
local meta = read_meta(queue)
local is_limited = meta.max_jobs > 0 and meta.duration_ms ~= nil

if max_jobs == 0 and not is_limited then
  return 0
elseif is_limited and meta.max_jobs == max_jobs and meta.duration_ms == duration_ms then
  return 0
end
allow_when_full(queue)

redis.call("HDEL", queue.meta, "max", "duration")
if max_jobs > 0 then
  redis.call("HSET", queue.meta, "max", ARGV[1], "duration", ARGV[2])
end
redis.call("DEL", queue.limiter)
return 1
