-- add: absent|waiting|prioritized|delayed|completed|failed -> waiting|prioritized
-- Refused: "kept" when the id waits with the same or a higher revision (or none is given), "busy"
--   when it is claimed or waits for children. Needs memory: refused as a whole by a full Redis.
-- Uses: layout, lines
-- KEYS[1] base of the queue's keys
-- ARGV[1] now in ms; then per job: id, name, data (JSON), opts (JSON), revision or "", tally or ""
-- Returns per job "added", "replaced", "kept" or "busy"
local queue, now_ms = queue_at(KEYS[1]), ARGV[1]
local FIRST, STRIDE, SHORT_WAIT = 2, 6, 1000
local RUN_FIELDS = { "atm", "ats", "stc", "solo", "defa", "failedReason", "stacktrace", "progress",
  "processedOn", "tally" }

-- The first write is one that a full Redis refuses: nothing has changed then.
increase(queue.id, (#ARGV - FIRST + 1) / STRIDE)
local meta = read_meta(queue)
ensure_max_events(queue, meta)

local function load_ids(list)
  local ids = {}
  for _, id in ipairs(redis.call("LRANGE", list, 0, -1)) do
    ids[id] = true
  end
  return ids
end

local active_ids, wait_ids

local function is_active(id)
  active_ids = active_ids or load_ids(queue.active)
  return active_ids[id]
end

-- A hash that no list names. Looked for only while the wait list is short: never O(backlog).
local function is_orphan(id)
  if not wait_ids and redis.call("LLEN", queue.wait) > SHORT_WAIT then
    return false
  end
  wait_ids = wait_ids or load_ids(queue.wait)
  return not wait_ids[id] and not redis.call("LPOS", queue.paused, id)
end

local function find_state(id)
  -- Asked first: what has ended may be locked too, by somebody who is about to remove it.
  if redis.call("EXISTS", queue.base .. id .. ":lock") == 1 then
    return "active"
  end
  for _, state in ipairs({ "completed", "failed", "delayed", "prioritized", "waiting_children" }) do
    if redis.call("ZSCORE", queue[state], id) then
      return state
    end
  end
  if is_active(id) then
    return "active"
  end
  return is_orphan(id) and "orphan" or "waiting"
end

local has_work = false

local function make_ready(job, priority)
  push_new(queue, meta, job.id, job.data, priority, false)
  if wait_ids then
    wait_ids[job.id] = true
  end
  has_work = true
end

local function write(job, ...)
  local key = queue.base .. job.id
  redis.call("HSET", key, "name", job.name, "data", job.data, "opts", job.opts, "delay", "0", ...)
  for field, value in pairs({ revision = job.revision, tally = job.tally }) do
    if value ~= "" then
      redis.call("HSET", key, field, value)
    end
  end
end

local function store(job)
  write(job, "timestamp", now_ms, "priority", "0")
  emit(queue, "added", "jobId", job.id, "name", job.name)
  make_ready(job, 0)
  emit_capped(queue, meta, "waiting", "jobId", job.id)
  return "added"
end

local function is_newer(job)
  local stored = whole(redis.call("HGET", queue.base .. job.id, "revision"), 1, MAX_WHOLE)
  return job.revision ~= "" and (not stored or stored < tonumber(job.revision))
end

local function keep(job, outcome)
  emit_capped(queue, meta, "duplicated", "jobId", job.id)
  return outcome
end

local function replace(job, state)
  local key = queue.base .. job.id
  local old_tally = redis.call("HGET", key, "tally")
  redis.call("HDEL", key, unpack(RUN_FIELDS))
  write(job)
  if old_tally ~= job.tally then
    raise_tally(queue, old_tally, "superseded")
  end
  if state == "delayed" then
    redis.call("ZREM", queue.delayed, job.id)
    make_ready(job, number_field(key, "priority"))
    emit(queue, "waiting", "jobId", job.id, "prev", "delayed")
  end
  return "replaced"
end

local function add_anew(job, state)
  if queue[state] then
    redis.call("ZREM", queue[state], job.id)
    emit_capped(queue, meta, "removed", "jobId", job.id, "prev", state)
  end
  delete_job(queue, job.id)
  return store(job)
end

local function bring_back(job)
  if not is_newer(job) then
    make_ready(job, number_field(queue.base .. job.id, "priority"))
    emit_capped(queue, meta, "waiting", "jobId", job.id)
    return "kept"
  end
  return add_anew(job, "orphan")
end

-- What stands under the job's key is no job: it gives way, and its id leaves the lines.
local function clear_away(id)
  delete_job(queue, id)
  redis.call("LREM", queue.wait, 0, id)
  for _, state in ipairs({ "completed", "failed", "delayed", "prioritized" }) do
    redis.call("ZREM", queue[state], id)
  end
end

local function add(job)
  local key = queue.base .. job.id
  if redis.call("EXISTS", key) == 1 and not is_job(key) then
    clear_away(job.id)
  end
  if redis.call("EXISTS", key) == 0 then
    return store(job)
  end
  local state = find_state(job.id)
  if state == "completed" or state == "failed" then
    return add_anew(job, state)
  elseif state == "active" or state == "waiting_children" then
    return keep(job, "busy")
  elseif state == "orphan" then
    return bring_back(job)
  elseif is_newer(job) then
    return replace(job, state)
  end
  return keep(job, "kept")
end

local outcomes = {}
for at = FIRST, #ARGV, STRIDE do
  local id, name, data, opts, revision, tally = unpack(ARGV, at, at + STRIDE - 1)
  outcomes[#outcomes + 1] = add({
    id = id, name = name, data = data, opts = opts, revision = revision, tally = tally,
  })
end
if has_work then
  wake(queue, meta)
end
return outcomes
