-- A new job's hash and its first place, as BullMQ's add leaves them.

-- A job is a table of texts as they are stored: id, name, data, opts, timestamp, delay, priority; and
-- where it has them parent_key with parent, rjk and dedup.id.
local function store_job(queue, job)
  local fields = { "name", job.name, "data", job.data, "opts", job.opts, "timestamp", job.timestamp,
    "delay", job.delay, "priority", job.priority }
  local beside = { parentKey = job.parent_key, parent = job.parent_key and job.parent,
    rjk = job.rjk, deid = job.dedup and job.dedup.id }
  for field, value in pairs(beside) do
    fields[#fields + 1], fields[#fields + 2] = field, value
  end
  redis.call("HSET", queue.base .. job.id, unpack(fields))
  emit(queue, "added", "jobId", job.id, "name", job.name)
end

-- A delay wins over a priority, and a priority over the front of the line (`lifo`).
local function place_in_line(queue, meta, job)
  local delay_ms = tonumber(job.delay)
  if delay_ms > 0 then
    push_delayed(queue, meta, job.id, tonumber(job.timestamp) + delay_ms)
    wake_later(queue)
  else
    push_new(queue, meta, job.id, job.data, tonumber(job.priority), job.lifo)
    wake(queue, meta)
    emit_capped(queue, meta, "waiting", "jobId", job.id)
  end
end

-- Stores a job and puts it where it belongs; one of the kind "parent" waits for its children first.
local function place_job(queue, meta, job)
  store_job(queue, job)
  if job.kind == "parent" then
    redis.call("ZADD", queue.waiting_children, job.timestamp, job.id)
    emit_capped(queue, meta, "waiting-children", "jobId", job.id)
  else
    place_in_line(queue, meta, job)
  end
  if job.parent_key then
    redis.call("SADD", job.parent_key .. ":dependencies", queue.base .. job.id)
  end
end
