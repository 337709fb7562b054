-- Job schedulers: each makes jobs one after another, the next one when the last one is claimed.

local function digits(number)
  return string.format("%.0f", number)
end

-- `times` holds when the next job of each scheduler is due, `key` what one remembers.
local function scheduler_at(queue, id)
  local times = queue.base .. "repeat"
  return { id = id, times = times, key = times .. ":" .. id }
end

-- When its next job is due, which is made already; nil where there is no such scheduler.
local function read_pending_ms(scheduler)
  return whole(redis.call("ZSCORE", scheduler.times, scheduler.id), 0, MAX_WHOLE)
end

local function id_of_run(scheduler, due_ms)
  return "repeat:" .. scheduler.id .. ":" .. digits(due_ms)
end

-- The first time behind now that lies `offset` behind a multiple of `every`.
local function next_slot(every, offset, now_ms)
  local slot = math.floor(now_ms / every) * every + offset
  return slot > now_ms and slot or slot + every
end

-- What follows on a job; times that nobody was there for are left out.
local function slot_after(due_ms, every, offset, now_ms)
  local slot = due_ms + every
  return slot >= now_ms and slot or next_slot(every, offset, now_ms)
end

-- Makes the job that is due at `due_ms`. `run` is it, as `place_job` takes it, but without what hangs
-- on the time. Its opts are added to as text: decoded, they would lose empty lists and long numbers.
local function add_run(queue, meta, scheduler, run, due_ms, now_ms)
  run.id, run.rjk = id_of_run(scheduler, due_ms), scheduler.id
  run.timestamp, run.delay = digits(now_ms), digits(math.max(due_ms - now_ms, 0))
  run.opts = string.format('%s,"jobId":%s,"delay":%s}', run.opts:sub(1, -2), cjson.encode(run.id),
    run.delay)
  redis.call("ZADD", scheduler.times, digits(due_ms), scheduler.id)
  place_job(queue, meta, run)
end
