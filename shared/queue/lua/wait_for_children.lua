-- wait_for_children: active -> waiting-children
-- Refused: no child is open; a child has failed the job, which cannot run on; the lock is gone or another
--   token holds it. The last child's end puts the job back into the line.
-- KEYS[1] base of the queue's keys
-- ARGV[1] now in ms, [2] id, [3] token, [4] key of the child to wait for, or "" for any
-- Returns "moved", "none_open", "child_failed", "missing" or "lock_lost"
local queue, now = queue_at(KEYS[1]), ARGV[1]
local id, child_key = ARGV[2], ARGV[4]
local ID_AT, STRIDE = 2, 3
local key = queue.base .. id

-- What is no set holds no child.
local function has_open()
  if child_key ~= "" then
    return redis.pcall("SISMEMBER", key .. ":dependencies", child_key) == 1
  end
  local count = redis.pcall("SCARD", key .. ":dependencies")
  return type(count) == "number" and count > 0
end

local function has_failed()
  local count = redis.pcall("ZCARD", key .. ":unsuccessful")
  return type(count) == "number" and count > 0
end

if not is_job(key) then
  return "missing"
elseif has_failed() then
  return "child_failed"
elseif not has_open() then
  return "none_open"
end
allow_when_full(queue)
if not take_from_active(queue, ID_AT, STRIDE, {})[ID_AT] then
  return "lock_lost"
end
redis.call("ZADD", queue.waiting_children, now, id)
emit(queue, "waiting-children", "jobId", id, "prev", "active")
wake_for_free_slot(queue, read_meta(queue))
return "moved"
