-- Running a finished job once more: what its end has left behind goes.

local RESULTS = { completed = "returnvalue", failed = "failedReason" }

-- The parent waits for the child again; it does not move, wherever it stands.
local function return_to_parent(parent_key, child_key, state)
  if not parent_key or not is_job(parent_key) then
    return
  end
  local was_there
  if state == "failed" then
    was_there = redis.call("ZREM", parent_key .. ":unsuccessful", child_key) == 1
      or redis.call("HDEL", parent_key .. ":failed", child_key) == 1
  else
    was_there = redis.call("HDEL", parent_key .. ":processed", child_key) == 1
  end
  if was_there then
    redis.call("SADD", parent_key .. ":dependencies", child_key)
  end
end

-- Further fields to forget may follow.
local function forget_end(queue, id, state, ...)
  local key = queue.base .. id
  redis.call("HDEL", key, "finishedOn", "processedOn", RESULTS[state], ...)
  try(return_to_parent, redis.call("HGET", key, "parentKey"), key, state)
end
