-- limit_groups: no job moves; how many jobs of one group may start in a window is set or lifted
-- Uses: layout, lines
-- KEYS[1] base of the queue's keys
-- ARGV[1] most jobs of a group in a window, 0 for no limit; [2] the window in ms; [3] the field of a
--   job's data that names its group
-- Returns 1, or 0 where it was so already
local queue, key = queue_at(KEYS[1]), ARGV[3]
local max_jobs, duration_ms = tonumber(ARGV[1]), tonumber(ARGV[2])
local grouping = read_meta(queue).grouping

if max_jobs == 0 and not grouping then
  return 0
elseif grouping and grouping.max_jobs == max_jobs and grouping.duration_ms == duration_ms
  and grouping.key == key then
  return 0
end
allow_when_full(queue)

if max_jobs == 0 then
  redis.call("HDEL", queue.meta, "own:grouping")
  forget_lines(queue)
  redis.call("DEL", queue.own .. "lined")
elseif grouping and grouping.key == key then
  write_grouping(queue, max_jobs, duration_ms, grouping.strays, key)
else
  forget_lines(queue)
  begin_lines(queue, max_jobs, duration_ms, key)
end
return 1
