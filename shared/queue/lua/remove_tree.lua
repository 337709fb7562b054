-- remove_tree: waiting|prioritized|delayed|waiting-children|active|completed|failed -> absent
-- Refused: "locked" while somebody holds the job, or one below it that has not ended; "scheduled"
--   if it is the pending job of a scheduler.
-- Uses: layout, flows, removing
-- KEYS[1] base of the queue's keys
-- ARGV[1] id, [2] "1" with its children, and theirs, in whatever queue
-- Returns "removed", also for what is not there, "locked" or "scheduled"
local queue, id, with_children = queue_at(KEYS[1]), ARGV[1], ARGV[2] == "1"
local LISTS = { "wait", "paused", "active" }
-- "bull:", which may hold colons; the name behind it holds none, and the id may again.
local prefix = KEYS[1]:match("^(.*:)[^:]*:$")
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

-- The base of a child's queue, and its id. Where the prefix is another one, its tag in braces or its
-- first part is taken for all of it.
local function split_key(key)
  local before = prefix
  if key:sub(1, #prefix) ~= prefix then
    before = key:match("^[^:{}]*{[^}]*}[^:]*:") or key:match("^[^:]*:") or ""
  end
  local name, id = key:sub(#before + 1):match("^([^:]*:)(.+)$")
  return name and before .. name, id
end

local function remove_job(home, job_id)
  local key = home.base .. job_id
  local fields = is_job(key) and redis.call("HMGET", key, "deid") or {}
  local is_left, state = pcall(leave_state, home, job_id, "", LISTS)
  free_deduplication(home, job_id, fields[1])
  if redis.call("EXISTS", key) == 1 then
    delete_job(home, job_id)
    local meta = read_meta(home)
    ensure_max_events(home, meta)
    emit_capped(home, meta, "removed", "jobId", job_id, "prev", is_left and state or "unknown")
  end
end

local function remove_below(base, job_id, seen)
  local key = base .. job_id
  if seen[key] then
    return
  end
  seen[key] = true
  local fields = is_job(key) and redis.call("HMGET", key, "parentKey", "parent") or {}
  try(leave_parent, fields[1], fields[2], key)
  for _, child_key in ipairs(with_children and children_of(key) or {}) do
    local child_base, child_id = split_key(child_key)
    if child_base then
      remove_below(child_base, child_id, seen)
    end
  end
  remove_job(queue_at(base), job_id)
end

if pending_of_schedulers(queue)[id] then
  return "scheduled"
end
if is_locked(queue.base .. id, {}) then
  return "locked"
end
remove_below(queue.base, id, {})
return "removed"
