-- remove_child_dependency: waiting-children -> waiting
-- The arrow is the parent's: it goes to the front of the line if it waited for this child alone. The
--   child stays where it is, and has no parent any more.
-- Refused: the child has ended as far as its parent goes; it or its parent is not there.
-- Uses: layout, flows
-- KEYS[1] base of the queue's keys
-- ARGV[1] id
-- Returns "removed", "not_open", "missing", "no_parent", or "missing_parent" and its key
local queue, id = queue_at(KEYS[1]), ARGV[1]
local key = queue.base .. id
if not is_job(key) then
  return { "missing" }
end
local parent_key, parent = unpack(redis.call("HMGET", key, "parentKey", "parent"))
if not parent_key then
  return { "no_parent" }
elseif not is_job(parent_key) then
  return { "missing_parent", parent_key }
end
allow_when_full(queue)
if not leave_parent(parent_key, parent, key) then
  return { "not_open" }
end
redis.call("HDEL", key, "parentKey", "parent")
return { "removed" }
