-- The words of the layout that all scripts share; connection.py sends this file before each of them, and
-- behind it the other parts that a script's header names ("Uses"). Facts are BullMQ 6.7's: which side
-- of a list, which score, event and marker.

local NAMES = {
  "wait", "paused", "active", "prioritized", "pc", "delayed", "waiting-children", "completed",
  "failed", "stalled", "limiter", "meta", "id", "events", "marker",
}

-- The keys of the queue whose keys start with `base` ("bull:name:"), by their name.
local function queue_at(base)
  local queue = { base = base }
  for _, name in ipairs(NAMES) do
    queue[name:gsub("-", "_")] = base .. name
  end
  queue.own = base .. "own:"
  return queue
end

-- Anybody may write to Redis. What makes no sense there is read as if it were absent: it must cost
-- its own job only, and never stop a script half-way.
local MAX_WHOLE = 9007199254740991

-- A whole number within these bounds, else nil; NaN is within none.
local function whole(value, lowest, highest)
  local number = tonumber(value)
  if number and number >= lowest and number <= highest and number == math.floor(number) then
    return number
  end
end

-- Whether a key holds a job; one of another type is nobody's.
local function is_job(key)
  return redis.call("TYPE", key).ok == "hash"
end

-- A key that is no list or set, though it should be, is found out before anything has changed: half-way
-- it would cost the jobs that are on their way there.
local function check_keys(queue)
  redis.call("LLEN", queue.wait)
  for _, set in ipairs({ queue.prioritized, queue.delayed, queue.waiting_children }) do
    redis.call("ZCARD", set)
  end
end

-- For what concerns another queue or key than the job's own, as its fields name it: whatever stands
-- there, the job itself goes on.
local function try(act, ...)
  pcall(act, ...)
end

-- A counter that somebody spoilt begins anew. A full Redis refuses it as ever.
local function increase(key, by)
  local count = redis.pcall("INCRBY", key, by)
  if type(count) == "table" then
    if count.err:find("OOM", 1, true) then
      redis.call("INCRBY", key, by)
    end
    redis.call("SET", key, by)
    return by
  end
  return count
end

-- The same for a counter in a hash that is our own, or that is to be a hash.
local function increase_field(key, field, by)
  if type(redis.pcall("HINCRBY", key, field, by)) == "table" then
    if not is_job(key) then
      redis.call("DEL", key)
    end
    redis.call("HSET", key, field, by)
  end
end

-- Redis at maxmemory lets a script go on that has written already, and never refuses a DEL.
local function allow_when_full(queue)
  redis.call("DEL", queue.own .. "none")
end

-- How many jobs of one group may start in a window, as limit_groups wrote it; and, for one script, what
-- is known of groups: how many of each may still start, and which have a line.
local function read_grouping(text)
  local max_jobs, duration_ms, strays, key = string.match(text, "^(%d+) (%d+) (%d+) (.+)$")
  return key and { max_jobs = tonumber(max_jobs), duration_ms = tonumber(duration_ms),
    strays = tonumber(strays), key = key, budgets = {}, lines = {} }
end

local function read_meta(queue)
  local fields = redis.pcall("HMGET", queue.meta, "paused", "concurrency", "max", "duration",
    "opts.maxLenEvents", "own:grouping")
  if fields.err then
    redis.call("DEL", queue.meta)
    fields = { false, false, false, false, false, false }
  end
  local max_events = whole(fields[5], 0, MAX_WHOLE)
  return {
    is_paused = fields[1] ~= false,
    concurrency = whole(fields[2], 1, MAX_WHOLE),
    max_jobs = whole(fields[3], 0, MAX_WHOLE) or 0,
    duration_ms = whole(fields[4], 1, MAX_WHOLE),
    max_events = max_events and string.format("%.0f", max_events),
    grouping = fields[6] and read_grouping(fields[6]),
  }
end

local function ensure_max_events(queue, meta)
  if not meta.max_events then
    meta.max_events = "10000"
    redis.call("HSET", queue.meta, "opts.maxLenEvents", meta.max_events)
  end
end

-- Events are news: a stream that cannot be written to holds up no job.
local function emit(queue, ...)
  redis.pcall("XADD", queue.events, "*", "event", ...)
end

local function emit_capped(queue, meta, ...)
  redis.pcall("XADD", queue.events, "MAXLEN", "~", meta.max_events or "10000", "*", "event", ...)
end

local function trim_events(queue, meta)
  ensure_max_events(queue, meta)
  if type(redis.pcall("XTRIM", queue.events, "MAXLEN", "~", meta.max_events)) == "table" then
    redis.call("DEL", queue.events)
  end
end

local function mark_work(queue, score, member)
  local is_marked = redis.pcall("ZADD", queue.marker, score, member)
  if type(is_marked) == "table" then
    redis.call("DEL", queue.marker)
    redis.call("ZADD", queue.marker, score, member)
  end
end

-- Waking: member "0" says that there may be work, "1" carries when the next delayed job is due.
local function wake(queue, meta)
  local is_maxed = meta.concurrency and redis.call("LLEN", queue.active) >= meta.concurrency
  if not meta.is_paused and not is_maxed then
    mark_work(queue, 0, "0")
  end
end

local function wake_later(queue)
  local earliest = redis.call("ZRANGE", queue.delayed, 0, 0, "WITHSCORES")
  if #earliest > 0 then
    mark_work(queue, tonumber(earliest[2]) / 4096, "1")
  end
end

-- A freed slot of a queue with a global concurrency wakes whoever waits for it.
local function wake_for_free_slot(queue, meta)
  if meta.concurrency
    and redis.call("LLEN", queue.wait) + redis.call("ZCARD", queue.prioritized) > 0 then
    wake(queue, meta)
  end
end

-- Right is the front of the line; priority 0 runs before all others.
local function push(queue, id, priority, to_front)
  if priority > 0 then
    local counter = increase(queue.pc, 1) % 4294967296
    redis.call("ZADD", queue.prioritized, priority * 4294967296 + counter, id)
  else
    redis.call(to_front and "RPUSH" or "LPUSH", queue.wait, id)
  end
end

local function push_to_front(queue, id, priority)
  if priority > 0 then
    redis.call("ZADD", queue.prioritized, priority * 4294967296, id)
  else
    redis.call("RPUSH", queue.wait, id)
  end
end

local function push_delayed(queue, meta, id, due_ms)
  local lowest, highest = due_ms * 4096, (due_ms + 1) * 4096 - 1
  local taken = redis.call("ZREVRANGEBYSCORE", queue.delayed, highest, lowest, "WITHSCORES",
    "LIMIT", 0, 1)
  local score = lowest
  if #taken > 0 then
    score = math.min(tonumber(taken[2]) + 1, highest)
  end
  redis.call("ZADD", queue.delayed, score, id)
  emit_capped(queue, meta, "delayed", "jobId", id, "delay", string.format("%.0f", due_ms))
end

local function delay(queue, meta, id, now_ms, delay_ms)
  redis.call("HSET", queue.base .. id, "delay", string.format("%.0f", delay_ms))
  push_delayed(queue, meta, id, now_ms + delay_ms)
end

-- A counter that somebody spoilt begins anew: it must not stop a whole batch half-way.
local function count_up(job_key, field)
  local count = redis.pcall("HINCRBY", job_key, field, 1)
  if type(count) == "table" then
    redis.call("HSET", job_key, field, 1)
    return 1
  end
  return count
end

local function number_field(job_key, field)
  return whole(redis.pcall("HGET", job_key, field), 0, MAX_WHOLE) or 0
end

-- Due delayed jobs move behind what waits already; ids whose hash is gone are dropped.
local function promote(queue, meta, now_ms, limit)
  local due = redis.call("ZRANGEBYSCORE", queue.delayed, "-inf", (now_ms + 1) * 4096 - 1, "LIMIT",
    0, limit)
  local promoted = 0
  for _, id in ipairs(due) do
    local job_key = queue.base .. id
    local is_there = is_job(job_key)
    -- Before it leaves: where nothing can be lined up it stays.
    if is_there then
      push(queue, id, number_field(job_key, "priority"), false)
    end
    redis.call("ZREM", queue.delayed, id)
    if is_there then
      emit(queue, "waiting", "jobId", id, "prev", "delayed")
      redis.call("HSET", job_key, "delay", "0")
      promoted = promoted + 1
    end
  end
  if promoted > 0 then
    wake(queue, meta)
  end
  return promoted
end

local function decode(text)
  if not text then
    return {}
  end
  local is_json, value = pcall(cjson.decode, text)
  if is_json and type(value) == "table" then
    return value
  end
  return {}
end

-- Lua hands over a few thousand arguments at most.
local CHUNK = 1000

-- One command on many values: `head` is what stands before them. Returns the sum of the answers.
local function call_in_chunks(command, head, values)
  local sum = 0
  for first = 1, #values, CHUNK do
    local last = math.min(first + CHUNK - 1, #values)
    if head then
      sum = sum + redis.call(command, head, unpack(values, first, last))
    else
      sum = sum + redis.call(command, unpack(values, first, last))
    end
  end
  return sum
end

local function locks_of(queue, ids)
  local locks = {}
  for at, id in ipairs(ids) do
    locks[at] = queue.base .. id .. ":lock"
  end
  return locks
end

-- The token in each lock, or false.
local function read_holders(locks)
  local holders = {}
  for first = 1, #locks, CHUNK do
    local last = math.min(first + CHUNK - 1, #locks)
    for offset, holder in ipairs(redis.call("MGET", unpack(locks, first, last))) do
      holders[first + offset - 1] = holder
    end
  end
  return holders
end

local LEFT_THE_LIST = "\0left"
-- So few leave the list faster one by one.
local FEW = 2
-- How many of the oldest are read for each one that leaves.
local OLDEST_EACH = 4

-- Takes those that stand among the oldest, at the right end: it is read, cut off, and put back
-- without them.
local function remove_from_oldest(queue, count, wanted, found)
  local oldest, kept = redis.call("LRANGE", queue.active, -count, -1), {}
  for at = #oldest, 1, -1 do
    local id = oldest[at]
    if wanted[id] and not found[id] then
      found[id], oldest[at] = true, false
    end
  end
  for _, id in ipairs(oldest) do
    kept[#kept + 1] = id or nil
  end
  if #kept < #oldest then
    redis.call("LTRIM", queue.active, 0, -#oldest - 1)
    call_in_chunks("RPUSH", queue.active, kept)
  end
end

-- Marks those of a part of the list that are wanted and not found yet; returns how many.
local function mark_in(queue, from, to, wanted, found)
  local marks = 0
  for offset, id in ipairs(redis.call("LRANGE", queue.active, from, to)) do
    if wanted[id] and not found[id] then
      found[id], marks = true, marks + 1
      redis.call("LSET", queue.active, from + offset - 1, LEFT_THE_LIST)
    end
  end
  return marks
end

-- Takes the others: Redis itself looks for an id, which is far faster than a script's walk. What was
-- claimed together lies together: more of them are looked for around it.
local function remove_from_anywhere(queue, ids, wanted, found)
  local marks, first = 0, nil
  for _, id in ipairs(ids) do
    local place = not found[id] and redis.call("LPOS", queue.active, id)
    if place then
      local from = math.max(place - #ids, 0)
      marks = marks + mark_in(queue, from, place + #ids, wanted, found)
      first = math.min(first or from, from)
    end
  end
  if marks > 0 then
    -- From the nearer end, and no further than to the last mark.
    local is_left = first < redis.call("LLEN", queue.active) / 2
    redis.call("LREM", queue.active, is_left and marks or -marks, LEFT_THE_LIST)
  end
end

-- Takes ids out of the list of active ones; returns those that stood there.
local function remove_from_active(queue, ids, wanted)
  local found = {}
  if #ids <= FEW then
    for _, id in ipairs(ids) do
      found[id] = redis.call("LREM", queue.active, -1, id) > 0
    end
  else
    remove_from_oldest(queue, OLDEST_EACH * #ids, wanted, found)
    remove_from_anywhere(queue, ids, wanted, found)
  end
  return found
end

-- Only who holds the lock by its token may move a claimed job; the lock goes with the job. ARGV
-- names the jobs: id and token stand at `first` and every `stride` after it; those at the places of
-- `refusals` stay. Returns whether a job was taken, by its place in ARGV.
local function take_from_active(queue, first, stride, refusals)
  local ids = {}
  for at = first, #ARGV, stride do
    ids[#ids + 1] = ARGV[at]
  end
  local locks = locks_of(queue, ids)
  local holders, taken, wanted, taken_ids, taken_locks = read_holders(locks), {}, {}, {}, {}
  for number, id in ipairs(ids) do
    local at = first + (number - 1) * stride
    if holders[number] == ARGV[at + 1] and not wanted[id] and not (refusals and refusals[at]) then
      taken[at], wanted[id] = id, true
      taken_ids[#taken_ids + 1], taken_locks[#taken_locks + 1] = id, locks[number]
    end
  end
  call_in_chunks("DEL", nil, taken_locks)
  call_in_chunks("SREM", queue.stalled, taken_ids)
  local found = remove_from_active(queue, taken_ids, wanted)
  for at, id in pairs(taken) do
    taken[at] = found[id]
  end
  return taken
end

-- Takes the jobs that ARGV names and runs `move` at the place of each, `from_last` in reverse. One
-- that cannot be moved goes back among the active ones without a lock, so that the upkeep puts it
-- into the line; the others are moved all the same. Returns the outcomes in the order of ARGV, how
-- many were settled, and the first error or nil: to be raised by `answer` when all else is done.
-- `refusals`: why a job is not to be moved, by its place in ARGV.
local function move_each(queue, first, stride, move, from_last, refusals)
  local taken = take_from_active(queue, first, stride, refusals)
  local jobs, outcomes, settled, failure = (#ARGV - first + 1) / stride, {}, 0, nil
  for number = 1, jobs do
    local place = from_last and jobs - number + 1 or number
    local at = first + (place - 1) * stride
    outcomes[place] = refusals and refusals[at] or "lock_lost"
    if taken[at] then
      local is_moved, outcome = pcall(move, at)
      if not is_moved then
        redis.pcall("LPUSH", queue.active, ARGV[at])
        failure = failure or outcome
      elseif outcome == "settled" then
        outcomes[place], settled = outcome, settled + 1
      end
    end
  end
  return outcomes, settled, failure
end

local function answer(outcomes, failure)
  if failure then
    error(failure)
  end
  return outcomes
end

-- Whether what stands under a job's key is something else.
local function is_foreign(key)
  local kind = redis.call("TYPE", key).ok
  return kind ~= "hash" and kind ~= "none"
end

local KEYS_BESIDE = { ":logs", ":dependencies", ":processed", ":failed", ":unsuccessful" }

local function delete_jobs(queue, ids)
  local jobs, beside = {}, {}
  for at, id in ipairs(ids) do
    local key = queue.base .. id
    jobs[at] = key
    for _, suffix in ipairs(KEYS_BESIDE) do
      beside[#beside + 1] = key .. suffix
    end
  end
  call_in_chunks("DEL", nil, jobs)
  -- Mostly there are none, and asking is cheaper than deleting what is not there.
  if call_in_chunks("EXISTS", nil, beside) > 0 then
    call_in_chunks("DEL", nil, beside)
  end
end

local function delete_job(queue, id)
  delete_jobs(queue, { id })
end

local MAX_AGE_S = 100 * 366 * 24 * 60 * 60

-- How many finished jobs stay, as the job's own removeOnComplete or removeOnFail wishes.
local function keep_rule(wish)
  if wish == true then
    return { count = 0 }
  elseif type(wish) == "number" then
    return { count = whole(wish, 0, MAX_WHOLE) }
  elseif type(wish) == "table" then
    return {
      count = whole(wish.count, 0, MAX_WHOLE),
      age_s = whole(wish.age, 0, MAX_AGE_S),
      limit = whole(wish.limit, 1, MAX_WHOLE),
    }
  end
  return {}
end

-- The job's own wish, or else its worker's rule.
local function rule_of(wish, workers_rule)
  if wish == nil then
    return workers_rule
  end
  return keep_rule(wish)
end

-- Many may be old at once, when fewer are to be kept than before: then the ends of other jobs take the
-- rest, as one call must not keep all others waiting.
local MAX_TRIMMED, trimmed = 1000, 0

local function find_old(set, rule, now_ms)
  local old = {}
  if rule.age_s then
    old = redis.call("ZREVRANGEBYSCORE", set, now_ms - rule.age_s * 1000, 0, "LIMIT", 0,
      rule.limit or 1000)
  end
  if rule.count and rule.count > 0 then
    local excess = math.min(redis.call("ZCARD", set) - rule.count, 1000)
    for _, id in ipairs(excess > 0 and redis.call("ZRANGE", set, 0, excess - 1) or {}) do
      old[#old + 1] = id
    end
  end
  return old
end

-- `before_delete` is told of each that goes, where its parent may wait for it.
local function trim_finished(queue, set, rule, now_ms, before_delete)
  local old = trimmed < MAX_TRIMMED and find_old(set, rule, now_ms) or {}
  trimmed = trimmed + #old
  for _, id in ipairs(old) do
    redis.call("ZREM", set, id)
    if before_delete then
      before_delete(id)
    end
    delete_job(queue, id)
  end
end

-- The error's text and stack, appended to those of the runs before; the newest `limit` stay.
local function write_failure(job_key, opts, reason, stacktrace)
  local stacks = {}
  for _, stack in ipairs(decode(redis.call("HGET", job_key, "stacktrace"))) do
    if type(stack) == "string" then
      stacks[#stacks + 1] = stack
    end
  end
  if stacktrace ~= "" then
    stacks[#stacks + 1] = stacktrace
  end
  local limit = whole(opts.stackTraceLimit, 0, MAX_WHOLE) or #stacks
  while #stacks > limit do
    table.remove(stacks, 1)
  end
  local text = #stacks > 0 and cjson.encode(stacks) or "[]"
  redis.call("HSET", job_key, "failedReason", reason, "stacktrace", text)
end

local function emit_exhausted(queue, id, opts, attempts_made)
  if attempts_made >= (tonumber(opts.attempts) or 0) then
    emit(queue, "retries-exhausted", "jobId", id, "attemptsMade", attempts_made)
  end
end

local function emit_if_drained(queue)
  if redis.call("LLEN", queue.wait) + redis.call("LLEN", queue.active)
    + redis.call("ZCARD", queue.prioritized) == 0 then
    emit(queue, "drained")
  end
end

-- Live counters: raised in the same script as the state, so that a repeated call raises nothing.
local TALLY_TTL_MS = 7 * 24 * 60 * 60 * 1000

local function raise_tally(queue, tally, field, by)
  if tally and tally ~= "" and field ~= "" then
    local key = queue.own .. "tally:" .. tally
    increase_field(key, field, by or 1)
    redis.call("PEXPIRE", key, TALLY_TTL_MS)
  end
end

local function raise_total(queue, field, by)
  if by > 0 then
    increase_field(queue.own .. "totals", field, by)
  end
end
