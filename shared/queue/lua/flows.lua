-- Flows: what the end of a child means to its parent, which may live in another queue.

local function release_parent(parent, parent_key, now_ms)
  local queue, id = queue_at(parent.queueKey .. ":"), parent.id
  if redis.call("ZREM", queue.waiting_children, id) == 0 then
    return
  end
  local meta = read_meta(queue)
  local delay_ms = number_field(parent_key, "delay")
  if delay_ms > 0 then
    redis.call("ZADD", queue.delayed, (now_ms + delay_ms) * 4096, id)
    emit(queue, "delayed", "jobId", id, "delay", string.format("%.0f", now_ms + delay_ms))
    wake_later(queue)
  else
    push(queue, id, number_field(parent_key, "priority"), true)
    wake(queue, meta)
    emit(queue, "waiting", "jobId", id, "prev", "waiting-children")
  end
end

local function parent_of(parent_key, parent_json)
  local parent = decode(parent_json)
  if parent_key and type(parent.id) == "string" and type(parent.queueKey) == "string" then
    return parent
  end
end

-- The child no longer holds its parent back; answers whether it did, and whether none is left.
local function leave_dependencies(parent_key, child_key)
  local dependencies = parent_key .. ":dependencies"
  local has_left = redis.call("SREM", dependencies, child_key) == 1
  return has_left, has_left and redis.call("SCARD", dependencies) == 0
end

-- For what is removed: answers whether the child held its parent back.
local function leave_parent(parent_key, parent_json, child_key)
  local parent = parent_of(parent_key, parent_json)
  if not parent then
    return false
  end
  local has_left, was_last = leave_dependencies(parent_key, child_key)
  local queue = queue_at(parent.queueKey .. ":")
  if was_last and redis.call("ZREM", queue.waiting_children, parent.id) == 1 then
    redis.call("RPUSH", queue.wait, parent.id)
    wake(queue, read_meta(queue))
    emit(queue, "waiting", "jobId", parent.id, "prev", "waiting-children")
  end
  return has_left
end

local function tell_parent_of_success(parent_key, parent_json, child_key, result, now_ms)
  local parent = parent_of(parent_key, parent_json)
  if not parent then
    return
  end
  local has_left, was_last = leave_dependencies(parent_key, child_key)
  if has_left then
    redis.call("HSET", parent_key .. ":processed", child_key, result)
  end
  if was_last then
    release_parent(parent, parent_key, now_ms)
  end
end

-- The parent is to fail with its child: at its next claim, and at once if it only waited.
local function doom_parent(parent, parent_key, child_key, now_ms)
  local queue = queue_at(parent.queueKey .. ":")
  redis.call("ZADD", parent_key .. ":unsuccessful", now_ms, child_key)
  if redis.call("EXISTS", parent_key) == 0 or redis.call("ZSCORE", queue.failed, parent.id) then
    return
  end
  redis.call("HSET", parent_key, "defa", "child " .. child_key .. " failed")
  if redis.call("ZREM", queue.delayed, parent.id) == 1 then
    redis.call("HSET", parent_key, "delay", "0")
    redis.call("ZADD", queue.waiting_children, now_ms, parent.id)
  end
  release_parent(parent, parent_key, now_ms)
end

local function tell_parent_of_failure(parent_key, parent_json, child_key, reason, now_ms)
  local parent = parent_of(parent_key, parent_json)
  if not parent or not (parent.fpof or parent.cpof or parent.idof or parent.rdof) then
    return
  end
  local has_left, was_last = leave_dependencies(parent_key, child_key)
  if not has_left then
    return
  end
  if parent.fpof then
    doom_parent(parent, parent_key, child_key, now_ms)
  elseif parent.cpof or was_last then
    release_parent(parent, parent_key, now_ms)
  end
  if parent.cpof or parent.idof then
    redis.call("HSET", parent_key .. ":failed", child_key, reason)
  end
end
