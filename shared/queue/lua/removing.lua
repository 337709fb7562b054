-- Removing jobs: what goes with one, and what that means to its parent.

local SETS = { "completed", "waiting-children", "delayed", "failed", "prioritized" }

-- Takes a job out of the state that is named, or of whichever it is in ("" for any); returns the
-- name of that state's key.
local function leave_state(queue, id, only_state, lists)
  for _, state in ipairs(SETS) do
    if (only_state == "" or only_state == state)
      and redis.call("ZREM", queue.base .. state, id) == 1 then
      return state
    end
  end
  for _, state in ipairs(lists) do
    -- From the right: what is cleaned is mostly old.
    if (only_state == "" or only_state == state)
      and redis.call("LREM", queue.base .. state, -1, id) > 0 then
      return state
    end
  end
end

local function free_deduplication(queue, id, dedup_id)
  if dedup_id and redis.pcall("GET", queue.base .. "de:" .. dedup_id) == id then
    redis.call("DEL", queue.base .. "de:" .. dedup_id, queue.base .. "dn:" .. dedup_id)
  end
end

-- The next job of each scheduler, which keeps its schedule going; by id, and how many.
local function pending_of_schedulers(queue)
  local next_runs, pending = redis.pcall("ZRANGE", queue.base .. "repeat", 0, -1, "WITHSCORES"), {}
  for at = 1, #next_runs, 2 do
    pending["repeat:" .. next_runs[at] .. ":" .. next_runs[at + 1]] = true
  end
  return pending, #next_runs / 2
end

local leave_parent_for_good

-- Deletes, without an event, jobs that have left their state.
local function erase(queue, ids)
  for _, id in ipairs(ids) do
    local key = queue.base .. id
    -- What is no hash answers an error, which has no fields.
    local fields = redis.pcall("HMGET", key, "parentKey", "parent", "deid")
    local parent_key, parent, dedup_id = fields[1], fields[2], fields[3]
    if parent_key then
      try(leave_parent_for_good, queue, parent_key, parent, key)
    end
    free_deduplication(queue, id, dedup_id)
  end
  delete_jobs(queue, ids)
end

-- A parent whose last child is erased goes too if it is of the same queue; in another one it runs.
leave_parent_for_good = function(queue, parent_key, parent_json, child_key)
  local parent = parent_of(parent_key, parent_json)
  if not parent then
    return
  end
  local _, was_last = leave_dependencies(parent_key, child_key)
  local home = queue_at(parent.queueKey .. ":")
  if not was_last or redis.call("ZREM", home.waiting_children, parent.id) == 0 then
    return
  end
  if home.base == queue.base then
    erase(queue, { parent.id })
  else
    redis.call("RPUSH", home.wait, parent.id)
    wake(home, read_meta(home))
  end
end

local function is_in_line(queue, id)
  return redis.call("ZSCORE", queue.delayed, id) or redis.call("ZSCORE", queue.prioritized, id)
    or redis.call("LPOS", queue.wait, id)
end

-- Takes a scheduler's pending job out of the line, to be replaced: without an event, as in Node.
local function remove_pending(queue, id)
  leave_state(queue, id, "", { "wait" })
  erase(queue, { id })
end
