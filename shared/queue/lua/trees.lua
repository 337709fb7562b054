-- Removing jobs with those below them, in whatever queues.

local LISTS = { "wait", "paused", "active" }
-- "bull:", which may hold colons; the name behind it holds none, and the id may again.
local prefix = KEYS[1]:match("^(.*:)[^:]*:$")

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

-- A child that was removed may have left its id to a job that is none of this parent's.
local function is_anothers(child_key, parent_key)
  return is_job(child_key) and redis.call("HGET", child_key, "parentKey") ~= parent_key
end

-- Removes a job, and before it all that `children_of` gives by their keys, and theirs; each leaves its
-- parent first. Anybody may have written a child that is its own parent: each goes once.
local function remove_branch(base, job_id, children_of, seen)
  local key = base .. job_id
  if seen[key] then
    return
  end
  seen[key] = true
  local fields = is_job(key) and redis.call("HMGET", key, "parentKey", "parent") or {}
  try(leave_parent, fields[1], fields[2], key)
  for _, child_key in ipairs(children_of(key)) do
    local child_base, child_id = split_key(child_key)
    if child_base and not is_anothers(child_key, key) then
      remove_branch(child_base, child_id, children_of, seen)
    end
  end
  remove_job(queue_at(base), job_id)
end
