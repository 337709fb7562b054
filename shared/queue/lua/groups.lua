-- How many jobs of each group have started in its window, and which groups may go on.
-- `groups` (a set by time) holds each group that has a line: when it may go on, or when it last did.

local function started_key(queue, group)
  return queue.own .. "started:" .. group
end

-- How many jobs of a group may still start; a window that makes no sense begins anew.
local function budget_of(queue, grouping, group)
  grouping.budgets = grouping.budgets or {}
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

local function has_lines(queue)
  return redis.call("EXISTS", queue.own .. "groups") == 1
end

local function has_line(queue, group)
  return redis.call("ZSCORE", queue.own .. "groups", group) ~= false
end

-- Behind the other groups that may go on, or, used up, until its window ends.
local function put_group_back(queue, grouping, group, now_ms)
  local groups = queue.own .. "groups"
  if redis.call("EXISTS", line_of(queue, group)) == 0 then
    redis.call("ZREM", groups, group)
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
