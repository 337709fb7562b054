-- remove_unprocessed_children: waiting|prioritized|delayed|waiting-children|active -> absent
-- Refused: of a job's children, and theirs, those that somebody holds, with all below them, and those
--   that have ended. An active one that nobody holds goes. The job itself stays, and runs if it waited
--   for nothing else.
-- Uses: layout, flows, removing, trees
-- KEYS[1] base of the queue's keys
-- ARGV[1] id
-- Returns "done"
local queue, id = queue_at(KEYS[1]), ARGV[1]
allow_when_full(queue)

local function is_open(key)
  local base, child_id = split_key(key)
  return base and redis.call("EXISTS", key .. ":lock") == 0
    and not redis.call("ZSCORE", base .. "completed", child_id)
    and not redis.call("ZSCORE", base .. "failed", child_id)
end

local function open_children(key)
  local keys = {}
  for _, child_key in ipairs(redis.pcall("SMEMBERS", key .. ":dependencies")) do
    local is_known, goes = pcall(is_open, child_key)
    if is_known and goes then
      keys[#keys + 1] = child_key
    end
  end
  return keys
end

local seen = { [queue.base .. id] = true }
for _, child_key in ipairs(open_children(queue.base .. id)) do
  local base, child_id = split_key(child_key)
  remove_branch(base, child_id, open_children, seen)
end
return "done"
