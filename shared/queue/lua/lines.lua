-- The lines of a queue that limits how often jobs of one group start: each ready job that belongs to a
-- group stands in the line of its group (a list, the next on the right), and among the prioritized
-- jobs behind every priority, so that all who know BullMQ see it.

-- 2^53 is the end of whole scores; priorities end 2^32 before it, and their counters do not come so far.
local LINED, LINE_NUMBERS = 2097151 * 4294967296 + 2147483648, 2147483648
local MAX_GROUP_BYTES = 512

-- The group that a job's data names, or nil.
local function group_of(meta, data)
  local group = decode(data)[meta.grouping.key]
  if type(group) == "number" then
    group = string.format("%.17g", group)
  end
  if type(group) == "string" and group ~= "" and #group <= MAX_GROUP_BYTES then
    return group
  end
end

local function line_of(queue, group)
  return queue.own .. "line:" .. group
end

local function show_as_lined(queue, ids)
  local last, scored = increase(queue.own .. "lined", #ids), {}
  for at, id in ipairs(ids) do
    scored[2 * at - 1], scored[2 * at] = LINED + (last - #ids + at) % LINE_NUMBERS, id
  end
  call_in_chunks("ZADD", queue.prioritized, scored)
end

-- Puts jobs behind those of their group, the first named first, or before them, the last named first.
local function stand_in_line(queue, group, ids, to_front)
  local command, line = to_front and "RPUSH" or "LPUSH", line_of(queue, group)
  if not pcall(call_in_chunks, command, line, ids) then
    redis.call("DEL", line)
    call_in_chunks(command, line, ids)
  end
  redis.call("ZADD", queue.own .. "groups", "NX", 0, group)
end

-- A job that becomes ready: into the line of its group if it has one, else where its priority says. As
-- long as older ones are not in their lines, it waits behind them.
local function push_new(queue, meta, id, data, priority, to_front)
  local is_lined = meta.grouping and meta.grouping.strays == 0 and priority == 0
  local group = is_lined and group_of(meta, data)
  if group then
    show_as_lined(queue, { id })
    stand_in_line(queue, group, { id }, to_front)
  else
    push(queue, id, priority, to_front)
  end
end

-- `strays`: their numbers in the lines are below it; 0 when all that waits stands where it belongs.
local function write_grouping(queue, max_jobs, duration_ms, strays, key)
  redis.call("HSET", queue.meta, "own:grouping",
    string.format("%.0f %.0f %.0f %s", max_jobs, duration_ms, strays, key))
end

-- All that stand in lines now are strays: no line is to be trusted that they stand in it. Claims take
-- them like others, or line them up anew, and what waits as well. Returns whether there are any.
local function begin_lines(queue, max_jobs, duration_ms, key)
  local ends, first = string.format("(%.0f", LINED + LINE_NUMBERS), string.format("%.0f", LINED)
  local last = redis.call("ZREVRANGEBYSCORE", queue.prioritized, ends, first, "WITHSCORES", "LIMIT",
    0, 1)
  local strays = math.min(redis.call("LLEN", queue.wait), 1)
  if last[2] then
    strays = tonumber(last[2]) - LINED + 1
  end
  redis.call("SET", queue.own .. "lined", string.format("%.0f", strays))
  write_grouping(queue, max_jobs, duration_ms, strays, key)
  return strays > 0
end

-- What stands in them stays among the prioritized ones, from where a claim takes it.
local function forget_lines(queue)
  local groups = redis.call("ZRANGE", queue.own .. "groups", 0, -1)
  for at, group in ipairs(groups) do
    groups[at] = line_of(queue, group)
  end
  call_in_chunks("UNLINK", nil, groups)
  redis.call("DEL", queue.own .. "groups")
end
