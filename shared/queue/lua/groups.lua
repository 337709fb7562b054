-- The part of a claim that keeps the limit of groups. `round` is of one claim: how many jobs were looked
-- at that did not start, which of them have to move, behind the lines of their groups or before them, and
-- the claim's own means.
-- `started:GROUP` counts the jobs of a group that have started in its window.
-- `groups` (a set by time) holds each group that has a line: when it may go on, or when it last did.

local function started_key(queue, group)
  return queue.own .. "started:" .. group
end

-- How many jobs of a group may still start; a window that makes no sense begins anew.
local function budget_of(queue, grouping, group)
  local budget = grouping.budgets[group]
  if not budget then
    local key = started_key(queue, group)
    budget = grouping.max_jobs - (whole(redis.pcall("GET", key), 0, MAX_WHOLE) or 0)
    if budget <= 0 and redis.call("PTTL", key) <= 0 then
      redis.call("DEL", key)
      budget = grouping.max_jobs
    end
    grouping.budgets[group] = budget
  end
  return budget
end

local function start_in_group(queue, grouping, group, count)
  local key = started_key(queue, group)
  grouping.budgets[group] = grouping.budgets[group] - count
  if count > 0 and increase(key, count) == count then
    redis.call("PEXPIRE", key, grouping.duration_ms)
  end
end

-- What is no set of groups gives way: then the lines are made anew.
local function check_groups(queue)
  if type(redis.pcall("ZCARD", queue.own .. "groups")) == "table" then
    redis.call("DEL", queue.own .. "groups")
  end
end

local function has_lines(queue)
  return redis.call("EXISTS", queue.own .. "groups") == 1
end

local function has_line(queue, grouping, group)
  local lines = grouping.lines
  lines[group] = lines[group] or redis.call("ZSCORE", queue.own .. "groups", group) ~= false
  return lines[group]
end

-- Behind the other groups that may go on, or, used up, until its window ends.
local function put_group_back(queue, grouping, group, now_ms)
  local groups = queue.own .. "groups"
  if redis.call("EXISTS", line_of(queue, group)) == 0 then
    redis.call("ZREM", groups, group)
    grouping.lines[group] = nil
  elseif grouping.budgets[group] > 0 then
    redis.call("ZADD", groups, now_ms, group)
  else
    local left_ms = redis.call("PTTL", started_key(queue, group))
    redis.call("ZADD", groups, now_ms + math.max(left_ms, 1), group)
  end
end

local function ready_groups(queue, now_ms, count)
  return redis.call("ZRANGEBYSCORE", queue.own .. "groups", "-inf", now_ms, "LIMIT", 0, count)
end

-- In how many ms the next group that has a line may go on.
local function next_group_in_ms(queue, now_ms)
  local first = redis.call("ZRANGE", queue.own .. "groups", 0, 0, "WITHSCORES")
  return math.max(tonumber(first[2]) - now_ms, 0)
end

local function append(lists, name, value)
  local list = lists[name] or {}
  lists[name], list[#list + 1] = list, value
end

-- Whether a job that was found outside of the lines may not start now: `move_into_lines` has to follow.
-- What was started before, or has a priority, comes before the line of its group; all else behind it.
local function must_line_up(queue, meta, round, job, has_priority)
  local grouping, group = meta.grouping, not job.is_doomed and group_of(meta, job.data)
  if not group then
    return false
  end
  local comes_first = job.started or has_priority
  if budget_of(queue, grouping, group) > 0 and (comes_first or not has_line(queue, grouping, group)) then
    start_in_group(queue, grouping, group, 1)
    return false
  end
  round.lined = round.lined + 1
  append(round, "moved", job.id)
  if comes_first then
    append(round.first, group, job.id)
  else
    append(round.behind, group, job.id)
    grouping.lines[group] = true
  end
  return true
end

-- Moves what must line up; those that come first do so when all of them are known.
local function move_into_lines(queue, round)
  if #round.moved == 0 then
    return
  end
  show_as_lined(queue, round.moved)
  for group, ids in pairs(round.behind) do
    stand_in_line(queue, group, ids, false)
  end
  round.moved, round.behind = {}, {}
end

local function line_up_first(queue, round)
  for group, ids in pairs(round.first) do
    local from_last = {}
    for at = #ids, 1, -1 do
      from_last[#from_last + 1] = ids[at]
    end
    stand_in_line(queue, group, from_last, true)
  end
end

-- The next ids of a group's line that may start, `share` at most.
local function next_in_line(queue, grouping, group, share)
  local count, ids = math.min(share, budget_of(queue, grouping, group)), {}
  local line = count > 0 and redis.pcall("LRANGE", line_of(queue, group), -count, -1) or {}
  if line.err then
    redis.call("DEL", line_of(queue, group))
  end
  for at = #line, 1, -1 do
    ids[#ids + 1] = line[at]
  end
  return ids
end

-- Takes from the line of a group what may start; returns what stopped it, if anything did.
local function take_from_line(queue, meta, round, group, share, now_ms)
  local used, started, reason = 0, 0, nil
  for _, id in ipairs(next_in_line(queue, meta.grouping, group, share)) do
    local job = round.read_job(id)
    reason = job and round.refusal(job)
    if reason then
      break
    end
    used = used + 1
    -- Somebody may have moved or removed it meanwhile.
    if redis.call("ZREM", queue.prioritized, id) == 1 and job then
      round.take(job)
      started = started + (job.is_doomed and 0 or 1)
    else
      round.lined = round.lined + 1
    end
  end
  if used > 0 then
    redis.call("LTRIM", line_of(queue, group), 0, -used - 1)
  end
  start_in_group(queue, meta.grouping, group, started)
  put_group_back(queue, meta.grouping, group, now_ms)
  return reason
end
