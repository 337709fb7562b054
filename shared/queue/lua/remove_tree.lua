-- remove_tree: waiting|prioritized|delayed|waiting-children|active|completed|failed -> absent
-- Refused: "locked" while somebody holds the job, or one below it that has not ended; "scheduled"
--   if it is the pending job of a scheduler.
-- Uses: layout, flows, removing, trees
-- KEYS[1] base of the queue's keys
-- ARGV[1] id, [2] "1" with its children, and theirs, in whatever queue
-- Returns "removed", also for what is not there, "locked" or "scheduled"
local queue, id, with_children = queue_at(KEYS[1]), ARGV[1], ARGV[2] == "1"
allow_when_full(queue)

local function is_locked(key, seen)
  if redis.call("EXISTS", key .. ":lock") == 1 then
    return true
  end
  -- Anybody may have written a child that is its own parent.
  if not with_children or seen[key] then
    return false
  end
  seen[key] = true
  for _, child_key in ipairs(redis.pcall("SMEMBERS", key .. ":dependencies")) do
    if is_locked(child_key, seen) then
      return true
    end
  end
  return false
end

-- The keys of the children that have ended, then of those that have not.
local function children_of(key)
  local keys = {}
  if not with_children then
    return keys
  end
  for _, ended in ipairs({ redis.pcall("HGETALL", key .. ":processed"),
    redis.pcall("HGETALL", key .. ":failed") }) do
    for at = 1, #ended, 2 do
      keys[#keys + 1] = ended[at]
    end
  end
  for _, found in ipairs({ redis.pcall("ZRANGE", key .. ":unsuccessful", 0, -1),
    redis.pcall("SMEMBERS", key .. ":dependencies") }) do
    for _, child_key in ipairs(found) do
      keys[#keys + 1] = child_key
    end
  end
  return keys
end

-- There may be many schedulers, and few jobs are theirs.
if id:sub(1, 7) == "repeat:" and pending_of_schedulers(queue)[id] then
  return "scheduled"
end
if is_locked(queue.base .. id, {}) then
  return "locked"
end
remove_branch(queue.base, id, children_of, {})
return "removed"
