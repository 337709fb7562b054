-- BullMQ's deduplication, as far as the end of the job that owns the id goes.

-- With keepLastIfActive, what was refused while the owner ran is stored and starts when it is done.
local function start_successor(queue, meta, dedup_id, now_ms)
  local stored = queue.base .. "dn:" .. dedup_id
  local id, name, data, opts_json = unpack(redis.call("HMGET", stored, "jid", "name", "data", "opts"))
  if not id or not name then
    return
  end
  local opts, key = decode(opts_json), queue.base .. id
  local delay_ms = whole(opts.delay, 0, MAX_WHOLE) or 0
  local priority = whole(opts.priority, 0, MAX_WHOLE) or 0
  redis.call("DEL", stored)
  increase(queue.id, 1)
  redis.call("SET", queue.base .. "de:" .. dedup_id, id)
  redis.call("HSET", key, "name", name, "data", data or "{}", "opts", opts_json or "{}",
    "timestamp", string.format("%.0f", now_ms), "delay", string.format("%.0f", delay_ms),
    "priority", string.format("%.0f", priority), "deid", dedup_id)
  emit(queue, "added", "jobId", id, "name", name)
  if delay_ms > 0 then
    push_delayed(queue, meta, id, now_ms + delay_ms)
    wake_later(queue)
  else
    push(queue, id, priority, opts.lifo == true)
    wake(queue, meta)
    emit_capped(queue, meta, "waiting", "jobId", id)
  end
end

-- A deduplication id without a time limit is free again when its owner is done.
local function end_deduplication(queue, meta, id, dedup_id, now_ms)
  if not dedup_id then
    return
  end
  local owner = queue.base .. "de:" .. dedup_id
  if redis.call("PTTL", owner) == -1 and redis.call("GET", owner) == id then
    redis.call("DEL", owner)
  end
  start_successor(queue, meta, dedup_id, now_ms)
end
