-- enqueue: absent -> waiting|prioritized|delayed|waiting-children
-- Refused: "duplicated" when the id is there in whatever state, "other_parent" when it is there as the
--   child of another living parent, "deduplicated" when another job stands for this one (a delayed one
--   may be removed instead, if the new one replaces it). As a whole: "limited" when the caller's window
--   has no room for the call, "no_parent" when a parent is not there; a tree also for an "other_parent".
--   Needs memory: refused as a whole by a full Redis.
-- Uses: layout, flows, lines, placing
-- KEYS[1] base of the queue's keys, KEYS[2] and on those of other queues that get jobs
-- ARGV[1] now in ms; [2] jobs that a caller may add in a window, or 0 for no limit; [3] the window in
--   ms; [4] the caller; [5] how many jobs count; [6] "1" for a tree, all or nothing; then per job: number
--   of its queue in KEYS, id or "" for the next number, name, data (JSON), opts (JSON), timestamp, delay
--   in ms, priority, "1" for the front of the line, "parent" where its children come with it, parent's
--   key or "", parent (JSON) or "", deduplication (JSON) or ""
-- Returns "done" and per job its outcome and the id that stands for it; or "limited" and the ms until the
--   window ends; or "no_parent" and the key of that parent; or "other_parent" and the id of the child
local queues, metas, counters, now_ms = {}, {}, {}, tonumber(ARGV[1])
local FIRST, STRIDE = 7, 13

local function read_job(at)
  local number, id, name, data, opts, timestamp, delay_ms, priority, lifo, kind, parent_key, parent,
    dedup = unpack(ARGV, at, at + STRIDE - 1)
  return {
    number = tonumber(number), id = id, name = name, data = data, opts = opts, timestamp = timestamp,
    delay = delay_ms, priority = priority, lifo = lifo == "1", kind = kind,
    parent_key = parent_key ~= "" and parent_key or nil, parent = parent,
    dedup = dedup ~= "" and decode(dedup) or nil,
  }
end

local function read_jobs()
  local jobs = {}
  for at = FIRST, #ARGV, STRIDE do
    jobs[#jobs + 1] = read_job(at)
  end
  return jobs
end

-- A parent is there already, or it comes before its children.
local function find_missing_parent(jobs)
  local coming = {}
  for _, job in ipairs(jobs) do
    if job.parent_key and not coming[job.parent_key] and not is_job(job.parent_key) then
      return job.parent_key
    end
    coming[KEYS[job.number] .. job.id] = true
  end
end

-- The child of one living parent, or of one in the same tree, is not that of another.
local function find_child_of_another(jobs)
  local parents, before = {}, {}
  for _, job in ipairs(jobs) do
    local key = KEYS[job.number] .. job.id
    if job.parent_key and job.id ~= "" then
      local known = parents[key]
      local old_key = known or is_job(key) and redis.call("HGET", key, "parentKey")
      -- One that was removed lives again if the tree holds its id.
      local is_living = known or before[old_key] or (old_key and is_job(old_key))
      if old_key and old_key ~= job.parent_key and is_living then
        return job.id
      end
      parents[key] = job.parent_key
    end
    before[key] = true
  end
end

-- Counts jobs into a caller's window; returns how long the caller has to wait if they have no room.
local function count_adds(max_adds, window_ms, caller, count)
  local key = queues[1].own .. "adds:" .. caller
  local ttl_ms = redis.call("PTTL", key)
  local used = ttl_ms > 0 and whole(redis.pcall("GET", key), 0, MAX_WHOLE) or 0
  if used + count > max_adds then
    return ttl_ms > 0 and ttl_ms or window_ms
  elseif used > 0 then
    increase(key, count)
  else
    redis.call("SET", key, count, "PX", window_ms)
  end
end

-- Each job takes a number, also one that has an id of its own.
local function draw_numbers(jobs)
  local counts = {}
  for _, job in ipairs(jobs) do
    counts[job.number] = (counts[job.number] or 0) + 1
  end
  for number, count in pairs(counts) do
    local queue = queues[number]
    counters[number] = increase(queue.id, count) - count
    metas[number] = read_meta(queue)
    ensure_max_events(queue, metas[number])
  end
end

-- A number that a job has is skipped; a counter that was lost catches up in growing strides.
local function free_number(queue, number)
  local stride = 1
  while redis.call("EXISTS", queue.base .. string.format("%.0f", number)) == 1 do
    number, stride = increase(queue.id, stride), stride * 2
  end
  return string.format("%.0f", number)
end

local function release_if_none_open(parent_key, parent_json)
  local parent = parent_of(parent_key, parent_json)
  if parent and redis.call("SCARD", parent_key .. ":dependencies") == 0 then
    release_parent(parent, parent_key, now_ms)
  end
end

-- A job that is there already becomes the child of a parent.
local function link(queue, job, coming)
  local key = queue.base .. job.id
  if redis.call("ZSCORE", queue.completed, job.id) then
    local result = redis.call("HGET", key, "returnvalue") or "null"
    redis.call("HSET", job.parent_key .. ":processed", key, result)
    if not coming[job.parent_key] then
      release_if_none_open(job.parent_key, job.parent)
    end
  else
    redis.call("SADD", job.parent_key .. ":dependencies", key)
  end
  redis.call("HSET", key, "parentKey", job.parent_key, "parent", job.parent)
end

local function add_again(queue, meta, job, coming)
  local key = queue.base .. job.id
  if job.parent_key and is_job(key) then
    local old_key = redis.call("HGET", key, "parentKey")
    if old_key and old_key ~= job.parent_key and redis.call("EXISTS", old_key) == 1 then
      return "other_parent"
    end
    link(queue, job, coming)
  end
  emit_capped(queue, meta, "duplicated", "jobId", job.id)
  return "duplicated"
end

-- Makes a job the owner of a deduplication id; with keepLastIfActive only its end ends that.
local function own(queue, dedup, id, keeps_ttl)
  local key = queue.base .. "de:" .. dedup.id
  if not dedup.ttl or dedup.keepLastIfActive then
    redis.call("SET", key, id)
  elseif keeps_ttl then
    redis.call("SET", key, id, "KEEPTTL")
  else
    redis.call("SET", key, id, "PX", dedup.ttl)
  end
end

-- The owner gives way: while it is delayed, or when its end was missed.
local function take_over(queue, meta, job, owner)
  local dedup, is_replaced = job.dedup, false
  local key = queue.base .. "de:" .. dedup.id
  if dedup.replace and redis.call("ZREM", queue.delayed, owner) == 1 then
    delete_job(queue, owner)
    emit(queue, "removed", "jobId", owner, "prev", "delayed")
    emit_capped(queue, meta, "deduplicated", "jobId", job.id, "deduplicationId", dedup.id,
      "deduplicatedJobId", owner)
    is_replaced = true
  elseif redis.call("PTTL", key) ~= -1 or redis.call("EXISTS", queue.base .. owner) == 1 then
    return false
  end
  redis.call("DEL", queue.base .. "dn:" .. dedup.id)
  own(queue, dedup, job.id, is_replaced and not dedup.extend)
  return true
end

-- What the owner's end will start; the last one refused wins.
local function keep_as_next(queue, job, owner)
  if not job.dedup.keepLastIfActive or not redis.call("LPOS", queue.active, owner) then
    return false
  end
  local key = queue.base .. "dn:" .. job.dedup.id
  redis.call("DEL", key)
  redis.call("HSET", key, "name", job.name, "data", job.data, "opts", job.opts, "jid", job.id)
  own(queue, job.dedup, owner)
  return true
end

local function delay_anew(queue, meta, job, owner)
  if redis.call("ZSCORE", queue.delayed, owner) then
    redis.call("HSET", queue.base .. owner, "delay", job.delay)
    push_delayed(queue, meta, owner, tonumber(job.timestamp) + tonumber(job.delay))
    wake_later(queue)
  end
end

-- Returns the job that stands for this one, or nil where it is to be added.
local function deduplicate(queue, meta, job)
  local dedup = job.dedup
  local owner = redis.pcall("GET", queue.base .. "de:" .. dedup.id)
  if type(owner) ~= "string" then
    own(queue, dedup, job.id)
    return
  elseif take_over(queue, meta, job, owner) then
    return
  end
  local is_next = keep_as_next(queue, job, owner)
  if not is_next and not dedup.replace and dedup.extend and dedup.ttl then
    own(queue, dedup, owner)
  end
  if is_next or not dedup.replace then
    emit_capped(queue, meta, "deduplicated", "jobId", owner, "deduplicationId", dedup.id,
      "deduplicatedJobId", job.id)
  end
  if dedup.reschedule and not dedup.replace then
    delay_anew(queue, meta, job, owner)
  end
  return owner
end

local function add(job, coming)
  local queue, meta = queues[job.number], metas[job.number]
  counters[job.number] = counters[job.number] + 1
  if job.id == "" then
    job.id = free_number(queue, counters[job.number])
  elseif redis.call("EXISTS", queue.base .. job.id) == 1 then
    return add_again(queue, meta, job, coming), job.id
  end
  local owner = job.dedup and deduplicate(queue, meta, job)
  if owner then
    return "deduplicated", owner
  end
  place_job(queue, meta, job)
  return "added", job.id
end

-- Parents whose children were all done before they came go into the line, in their order.
local function release_parents(jobs)
  for _, job in ipairs(jobs) do
    local queue = queues[job.number]
    local key = queue.base .. job.id
    if job.kind == "parent" and redis.call("SCARD", key .. ":dependencies") == 0 then
      release_parent({ id = job.id, queueKey = queue.base:sub(1, -2) }, key, now_ms)
    end
  end
end

local function add_all(jobs)
  local answers, coming = { "done" }, {}
  for _, job in ipairs(jobs) do
    if job.kind == "parent" then
      coming[queues[job.number].base .. job.id] = true
    end
    local outcome, id = add(job, coming)
    answers[#answers + 1], answers[#answers + 2] = outcome, id
  end
  release_parents(jobs)
  return answers
end

for number, base in ipairs(KEYS) do
  queues[number] = queue_at(base)
  check_keys(queues[number])
end
local jobs, max_adds = read_jobs(), tonumber(ARGV[2])
local missing = find_missing_parent(jobs)
if missing then
  return { "no_parent", missing }
end
local child_of_another = ARGV[6] == "1" and find_child_of_another(jobs)
if child_of_another then
  return { "other_parent", child_of_another }
end
-- The first write is one that a full Redis refuses: nothing has changed then.
local wait_ms = max_adds > 0 and count_adds(max_adds, tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5]))
if wait_ms then
  return { "limited", wait_ms }
end
draw_numbers(jobs)
return add_all(jobs)
