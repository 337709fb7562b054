-- dead_letter: active -> dead
-- Refused: the lock is gone or another token holds it. The job leaves its queue and waits in the
--   dead-letter queue; one that is there already under that id gets the new data.
-- Uses: layout, flows, deduplication, metrics
-- KEYS[1] base of the queue's keys, KEYS[2] base of the dead-letter queue's keys
-- ARGV[1] now in ms, [2] minutes to be counted or ""; then per job: id, token, reason, stack trace or "",
--   tally field or "", dead letter's id, its name, its data (JSON), its opts (JSON)
-- Returns per job "settled" or "lock_lost"
local queue, dead_letters, now = queue_at(KEYS[1]), queue_at(KEYS[2]), ARGV[1]
local now_ms = tonumber(now)
local max_minutes = tonumber(ARGV[2])
local FIRST, STRIDE = 3, 9
allow_when_full(queue)
local meta, dead_meta = read_meta(queue), read_meta(dead_letters)
trim_events(queue, meta)

local function is_finished(id)
  return redis.call("ZREM", dead_letters.completed, id) + redis.call("ZREM", dead_letters.failed, id)
    > 0
end

local function add_dead_letter(dead)
  local key = dead_letters.base .. dead.id
  increase(dead_letters.id, 1)
  ensure_max_events(dead_letters, dead_meta)
  if redis.call("EXISTS", key) == 1 and not is_job(key) then
    delete_job(dead_letters, dead.id)
    redis.call("LREM", dead_letters.wait, 0, dead.id)
  end
  local is_there = is_job(key) and not is_finished(dead.id)
  if not is_there then
    redis.call("LPUSH", dead_letters.wait, dead.id)
  end
  redis.call("HSET", key, "name", dead.name, "data", dead.data, "opts", dead.opts,
    "timestamp", now, "delay", "0", "priority", "0")
  write_failure(key, { stackTraceLimit = 1 }, dead.reason, dead.stacktrace)
  if is_there then
    emit_capped(dead_letters, dead_meta, "duplicated", "jobId", dead.id)
    return
  end
  redis.call("HDEL", key, "finishedOn", "processedOn", "returnvalue")
  emit(dead_letters, "added", "jobId", dead.id, "name", dead.name)
  emit_capped(dead_letters, dead_meta, "waiting", "jobId", dead.id)
end

local function dead_letter(at)
  local id, _, reason, stacktrace, tally_field, dead_id, name, data, opts_json =
    unpack(ARGV, at, at + STRIDE - 1)
  local key = queue.base .. id
  if is_foreign(key) then
    return "lock_lost"
  end
  local dead = { id = dead_id, name = name, data = data, opts = opts_json, reason = reason,
    stacktrace = stacktrace }
  local opts, parent_key, parent, dedup_id, tally, attempts_made =
    unpack(redis.call("HMGET", key, "opts", "parentKey", "parent", "deid", "tally", "atm"))
  -- First of all, so that the job stays where nothing can be written there.
  add_dead_letter(dead)
  try(end_deduplication, queue, meta, id, dedup_id, now_ms)
  try(tell_parent_of_failure, parent_key, parent, key, dead.reason, now_ms)
  delete_job(queue, id)
  try(leave_parent, parent_key, parent, key)
  emit(queue, "failed", "jobId", id, "failedReason", dead.reason, "prev", "active")
  emit_exhausted(queue, id, decode(opts), (tonumber(attempts_made) or 0) + 1)
  raise_tally(queue, tally, tally_field)
  return "settled"
end

local outcomes, settled, failure = move_each(queue, FIRST, STRIDE, dead_letter)
if settled > 0 then
  raise_total(queue, "failed", settled)
  if max_minutes then
    try(count_ended, queue, "failed", settled, max_minutes, now_ms)
  end
  emit_if_drained(queue)
  wake_for_free_slot(queue, meta)
  wake(dead_letters, dead_meta)
end
return answer(outcomes, failure)
