-- claim: waiting|prioritized -> active
-- Refused: queue paused, global concurrency or rate limit used up, nothing waits, a solo job that
--   does not come first or is not accepted, the limit of all groups that have a line. Due delayed jobs
--   are promoted first, in any case.
-- Uses: layout, lines, groups
-- KEYS[1] base of the queue's keys
-- ARGV[1] now in ms, [2] token, [3] lock in ms, [4] most jobs, [5] most bytes of data
--   or, where all of a job is returned, of all its fields,
--   [6] rate limit: jobs or "", [7] its window in ms or "", [8] "1" when a solo job is accepted,
--   [9] "1" to return all of each job, [10] the worker's name, to be written into its jobs, or ""
-- Returns {blocked by or "", ms until a retry makes sense or -1, {value, …, id} per job}; all of a job
--   is {field, value, …, id}, where of a field that comes twice the last value counts
local queue, now_ms, token, lock_ms = queue_at(KEYS[1]), tonumber(ARGV[1]), ARGV[2], ARGV[3]
local limit, max_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local limiter_max, limiter_ms = tonumber(ARGV[6]), tonumber(ARGV[7])
local accepts_solo = ARGV[8] == "1"
local reads_whole, worker_name = ARGV[9] == "1", ARGV[10]
local PROMOTE_LIMIT, LOOK_LIMIT, SORT_AT_ONCE = 1000, 1000, 500
local claim_key = queue.own .. "claim:" .. token

local function job_of(id, fields, bytes, data, started, solo, defa)
  local is_doomed = defa and true or false
  return { id = id, fields = fields, data = data, bytes = bytes, started = started,
    is_doomed = is_doomed, is_solo = solo and not is_doomed }
end

local function read_whole(id)
  local fields = redis.pcall("HGETALL", queue.base .. id)
  if fields.err or #fields == 0 then
    return nil
  end
  local by_name, bytes = {}, 0
  for at = 1, #fields, 2 do
    by_name[fields[at]] = fields[at + 1]
    bytes = bytes + #fields[at + 1]
  end
  return job_of(id, fields, bytes, by_name.data, by_name.ats, by_name.solo, by_name.defa)
end

local function read_job(id)
  if reads_whole then
    return read_whole(id)
  end
  local fields = redis.pcall("HMGET", queue.base .. id, "name", "data", "opts", "timestamp",
    "revision", "tally", "atm", "ats", "stc", "solo", "defa")
  if fields.err or (not fields[1] and redis.call("EXISTS", queue.base .. id) == 0) then
    return nil
  end
  return job_of(id, fields, #(fields[2] or ""), fields[2], fields[8], fields[10], fields[11])
end

local function reply(blocked_by, retry_in_ms, jobs)
  local answer = { blocked_by, math.floor(retry_in_ms) }
  for _, job in ipairs(jobs) do
    job.fields[#job.fields + 1] = job.id
    answer[#answer + 1] = job.fields
  end
  return answer
end

-- A repeat after a lost reply: the same jobs, as far as this token still locks them.
local function repeated()
  local jobs = {}
  for _, id in ipairs(redis.call("LRANGE", claim_key, 0, -1)) do
    local job = redis.call("GET", queue.base .. id .. ":lock") == token and read_job(id)
    if job then
      jobs[#jobs + 1] = job
    end
  end
  return jobs
end

if redis.call("EXISTS", claim_key) == 1 then
  return reply("", -1, repeated())
end

allow_when_full(queue)
local meta = read_meta(queue)
promote(queue, meta, now_ms, PROMOTE_LIMIT)

-- The queue's own limit has its own window, whatever the caller's: one that was changed holds at once.
local has_limit = meta.max_jobs > 0
local max_jobs = has_limit and meta.max_jobs or limiter_max
local window_ms = has_limit and meta.duration_ms or limiter_ms or meta.duration_ms or 1000
local slots = meta.concurrency and meta.concurrency - redis.call("LLEN", queue.active)

-- How many jobs the rate limit's window has let start; a window that makes no sense begins anew.
local function started_in_window()
  local started = redis.pcall("GET", queue.limiter)
  local count = started and whole(started, 0, MAX_WHOLE)
  if started and not count then
    redis.call("DEL", queue.limiter)
  end
  return count or 0
end

local rate_budget = max_jobs and max_jobs - started_in_window()
if rate_budget and rate_budget <= 0 and redis.call("PTTL", queue.limiter) <= 0 then
  redis.call("DEL", queue.limiter)
  rate_budget = max_jobs
end

local jobs, bytes = {}, 0

-- Why the next job must not be taken, or nil; "full" is the caller's own limit.
local function refusal(job)
  if #jobs >= limit or (#jobs > 0 and bytes + job.bytes > max_bytes) then
    return "full"
  elseif rate_budget and rate_budget <= 0 then
    return "rate_limit"
  elseif meta.is_paused then
    return "paused"
  elseif slots and slots <= #jobs then
    return "concurrency"
  elseif #jobs > 0 and jobs[1].is_solo then
    return "solo"
  elseif job.is_solo and (#jobs > 0 or not accepts_solo) then
    return "solo"
  end
end

-- Writes when and how often the job was started, and by whom; what the caller is told includes it.
local function write_start(job, key)
  local started = string.format("%.0f", (whole(job.started or 0, 0, MAX_WHOLE) or 0) + 1)
  local names_worker = worker_name ~= ""
  if names_worker then
    redis.call("HSET", key, "processedOn", ARGV[1], "ats", started, "pb", worker_name)
  else
    redis.call("HSET", key, "processedOn", ARGV[1], "ats", started)
  end
  local fields = job.fields
  if not reads_whole then
    fields[8] = started
    return
  end
  for _, value in ipairs({ "processedOn", ARGV[1], "ats", started }) do
    fields[#fields + 1] = value
  end
  if names_worker then
    fields[#fields + 1], fields[#fields + 2] = "pb", worker_name
  end
end

local function take(job)
  local key = queue.base .. job.id
  if rate_budget and not job.is_doomed then
    rate_budget = rate_budget - 1
  end
  redis.call("SET", key .. ":lock", token, "PX", lock_ms)
  emit(queue, "active", "jobId", job.id, "prev", "waiting")
  write_start(job, key)
  jobs[#jobs + 1] = job
  bytes = bytes + job.bytes
end

-- What groups.lua needs of a claim, and what it keeps there.
local round = { lined = 0, moved = {}, first = {}, behind = {},
  read_job = read_job, refusal = refusal, take = take }

-- Walk the candidates in the order they run; answers how many are used up and what stopped it.
local function take_while_allowed(candidates, has_priority)
  for position, id in ipairs(candidates) do
    local job = read_job(id)
    -- An id without a hash is nobody's job: it is dropped, it must not become a ghost.
    if job then
      local reason = refusal(job)
      if reason then
        return position - 1, reason
      end
      if not (meta.grouping and must_line_up(queue, meta, round, job, has_priority)) then
        take(job)
      elseif round.lined >= LOOK_LIMIT then
        return position, "full"
      end
    end
  end
  return #candidates
end

local function reversed(list)
  local result = {}
  for at = #list, 1, -1 do
    result[#result + 1] = list[at]
  end
  return result
end

local function take_from_wait(look)
  local candidates = reversed(redis.call("LRANGE", queue.wait, -(look or limit) - 1, -1))
  local used, reason = take_while_allowed(candidates)
  if used > 0 then
    redis.call("LTRIM", queue.wait, 0, -used - 1)
  end
  return #candidates == 0, reason
end

local function take_from_prioritized()
  local candidates = redis.call("ZRANGE", queue.prioritized, 0, limit)
  local used, reason = take_while_allowed(candidates)
  if used > 0 then
    redis.call("ZREMRANGEBYRANK", queue.prioritized, 0, used - 1)
  end
  return #candidates == 0, reason
end

local function sort_wait()
  local is_empty, reason = take_from_wait(math.max(limit, SORT_AT_ONCE))
  move_into_lines(queue, round)
  return is_empty, reason
end

-- Takes prioritized jobs from one score up to another; what is moved into a line has another score then.
local function take_between(from, below, has_priority)
  local candidates = redis.call("ZRANGEBYSCORE", queue.prioritized, string.format("%.0f", from),
    string.format("(%.0f", below), "LIMIT", 0, math.max(limit, SORT_AT_ONCE))
  local used, reason = take_while_allowed(candidates, has_priority)
  if used > 0 then
    call_in_chunks("ZREM", queue.prioritized, { unpack(candidates, 1, used) })
  end
  move_into_lines(queue, round)
  return #candidates == 0, reason
end

local function take_with_priority()
  return take_between(-LINED, LINED, true)
end

local function take_strays()
  if meta.grouping.strays == 0 then
    return true
  end
  return take_between(LINED, LINED + meta.grouping.strays, false)
end

-- From now on what is added goes into the lines at once.
local function end_sorting()
  local grouping = meta.grouping
  if grouping.strays > 0 then
    write_grouping(queue, grouping.max_jobs, grouping.duration_ms, 0, grouping.key)
  end
  return true
end

local function take_from_lines()
  local room = limit - #jobs
  local groups = ready_groups(queue, now_ms, room)
  for at, group in ipairs(groups) do
    local share = math.max(math.floor((limit - #jobs) / (#groups - at + 1)), 1)
    local reason = take_from_line(queue, meta, round, group, share, now_ms)
    if reason or round.lined >= LOOK_LIMIT then
      return false, reason or "full"
    end
  end
  return #groups == 0
end

local function take_from_all(sources)
  for _, take_some in ipairs(sources) do
    local is_empty, reason
    repeat
      is_empty, reason = take_some()
      reason = reason or (#jobs >= limit and "full")
    until is_empty or reason
    if reason then
      return reason
    end
  end
end

local function fill()
  local reason = take_from_all({ take_from_wait, take_from_prioritized })
  if reason then
    return reason
  end
  redis.call("DEL", queue.pc)
  return "empty"
end

local function fill_by_groups()
  check_keys(queue)
  check_groups(queue)
  local reason =
    take_from_all({ take_strays, sort_wait, end_sorting, take_with_priority, take_from_lines })
  line_up_first(queue, round)
  if reason then
    return reason
  elseif has_lines(queue) then
    return "group_limit"
  end
  local grouping = meta.grouping
  if redis.call("ZCARD", queue.prioritized) > 0
    and begin_lines(queue, grouping.max_jobs, grouping.duration_ms, grouping.key) then
    -- Lines were lost: the next claim takes who stood in them.
    return "full"
  end
  redis.call("DEL", queue.pc)
  return "empty"
end

local function register()
  local started, ids = 0, {}
  for at, job in ipairs(jobs) do
    ids[at] = job.id
    started = started + (job.is_doomed and 0 or 1)
  end
  if not pcall(call_in_chunks, "LPUSH", queue.active, ids) then
    -- No list: who was active is nowhere else.
    redis.call("DEL", queue.active)
    call_in_chunks("LPUSH", queue.active, ids)
  end
  call_in_chunks("RPUSH", claim_key, ids)
  redis.call("PEXPIRE", claim_key, lock_ms)
  mark_work(queue, 0, "0")
  if rate_budget and started > 0 and redis.call("INCRBY", queue.limiter, started) == started then
    redis.call("PEXPIRE", queue.limiter, math.floor(math.abs(window_ms)))
  end
end

local function due_in_ms()
  local earliest = redis.call("ZRANGE", queue.delayed, 0, 0, "WITHSCORES")
  -- Nonsense that is never due makes no sense to wait for.
  local due_ms = #earliest > 0 and tonumber(earliest[2]) / 4096 - now_ms
  return due_ms and whole(math.floor(math.max(due_ms, 0)), 0, MAX_WHOLE) or -1
end

local function retry_in_ms(reason)
  if reason == "rate_limit" then
    return math.max(redis.call("PTTL", queue.limiter), 0)
  elseif reason == "empty" then
    return due_in_ms()
  elseif reason == "group_limit" then
    local group_ms, due_ms = next_group_in_ms(queue, now_ms), due_in_ms()
    return due_ms >= 0 and math.min(group_ms, due_ms) or group_ms
  end
  return -1
end

-- Asked before any job is looked at, so that a limit answers alike with and without backlog.
local function limited_at_once()
  if rate_budget and rate_budget <= 0 then
    return "rate_limit"
  elseif meta.is_paused then
    return "paused"
  elseif slots and slots <= 0 then
    return "concurrency"
  end
end

local is_done, reason = true, limited_at_once()
if not reason then
  is_done, reason = pcall(meta.grouping and fill_by_groups or fill)
end
if #jobs > 0 then
  register()
end
if not is_done and #jobs == 0 then
  error(reason)
elseif not is_done then
  -- What was taken before is the caller's; the next claim meets it anew.
  reason = "full"
end
local blocked_by = reason == "full" and "" or reason
return reply(blocked_by, retry_in_ms(blocked_by), jobs)
