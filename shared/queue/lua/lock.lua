-- lock: waiting|prioritized|delayed -> active
-- Refused: "locked" while somebody else works on it. A job that has ended, or that waits for
--   children, is locked where it stands. No event: nobody runs it.
-- KEYS[1] base of the queue's keys
-- ARGV[1] token, [2] lock in ms, [3] state that it must be in, or "" for any; then the ids
-- Returns per job "locked", "missing", or its hash as a list of fields and values
local queue, token, lock_ms, only_state = queue_at(KEYS[1]), ARGV[1], ARGV[2], ARGV[3]
local FIRST = 4
local STANDING = { "completed", "failed", "waiting-children" }
allow_when_full(queue)

local function leave_line(id)
  for _, state in ipairs({ "delayed", "prioritized" }) do
    if (only_state == "" or only_state == state)
      and redis.call("ZREM", queue.base .. state, id) == 1 then
      return true
    end
  end
  for _, state in ipairs({ "wait", "paused" }) do
    -- From the right: what is removed is mostly next to run, or old.
    if (only_state == "" or only_state == state)
      and redis.call("LREM", queue.base .. state, -1, id) > 0 then
      return true
    end
  end
  return false
end

local function stands(id)
  for _, state in ipairs(STANDING) do
    if (only_state == "" or only_state == state)
      and redis.call("ZSCORE", queue.base .. state, id) then
      return true
    end
  end
  return false
end

-- What is no hash is nobody's job, but it can be locked, and removed.
local function read(key)
  return is_job(key) and redis.call("HGETALL", key) or {}
end

local function lock(id)
  local key = queue.base .. id
  local holder = redis.call("GET", key .. ":lock")
  if redis.call("EXISTS", key) == 0 then
    return "missing"
  elseif holder == token then
    -- A repeat after a lost reply.
    return read(key)
  elseif holder then
    return "locked"
  elseif not stands(id) then
    local has_left = leave_line(id)
    if not has_left and only_state ~= "" then
      return "missing"
    elseif not has_left and redis.call("LPOS", queue.active, id) then
      -- Its lock ran out: the upkeep puts it back into the line in a moment.
      return "locked"
    end
    redis.call("LPUSH", queue.active, id)
  end
  redis.call("SET", key .. ":lock", token, "PX", lock_ms)
  return read(key)
end

local answers = {}
for at = FIRST, #ARGV do
  answers[#answers + 1] = lock(ARGV[at])
end
return answers
