-- fail: active -> failed
-- Refused: the lock is gone or another token holds it. Kept or deleted as removeOnFail says, the job's
--   own or its worker's.
-- Uses: layout, flows, deduplication, metrics
-- KEYS[1] base of the queue's keys
-- ARGV[1] now in ms, [2] the worker's removeOnFail (JSON object) or "", [3] minutes to be counted or "";
--   then per job: id, token, reason, stack trace or ""
-- Returns per job "settled" or "lock_lost"
local queue, now = queue_at(KEYS[1]), ARGV[1]
local now_ms = tonumber(now)
local workers_rule = ARGV[2] ~= "" and keep_rule(decode(ARGV[2])) or {}
local max_minutes = tonumber(ARGV[3])
local FIRST, STRIDE = 4, 4
allow_when_full(queue)
local meta = read_meta(queue)
trim_events(queue, meta)

-- The parent of a failed child that goes waits for it no longer.
local function leave_its_parent(id)
  local key = queue.base .. id
  local fields = redis.pcall("HMGET", key, "parentKey", "parent")
  try(leave_parent, fields[1], fields[2], key)
end

local function keep_or_delete(id, opts, parent_key, parent)
  local key, rule = queue.base .. id, rule_of(opts.removeOnFail, workers_rule)
  if rule.count == 0 then
    delete_job(queue, id)
    try(leave_parent, parent_key, parent, key)
    return
  end
  redis.call("HSET", key, "finishedOn", now)
  redis.call("HDEL", key, "defa")
  redis.call("ZADD", queue.failed, now, id)
  trim_finished(queue, queue.failed, rule, now_ms, leave_its_parent)
end

local function fail(at)
  local id, _, reason, stacktrace = unpack(ARGV, at, at + STRIDE - 1)
  local key = queue.base .. id
  if is_foreign(key) then
    return "lock_lost"
  end
  local opts_json, parent_key, parent, dedup_id =
    unpack(redis.call("HMGET", key, "opts", "parentKey", "parent", "deid"))
  local opts = decode(opts_json)
  write_failure(key, opts, reason, stacktrace)
  try(end_deduplication, queue, meta, id, dedup_id, now_ms)
  try(tell_parent_of_failure, parent_key, parent, key, reason, now_ms)
  local attempts_made = count_up(key, "atm")
  keep_or_delete(id, opts, parent_key, parent)
  emit(queue, "failed", "jobId", id, "failedReason", reason, "prev", "active")
  emit_exhausted(queue, id, opts, attempts_made)
  return "settled"
end

local outcomes, settled, failure = move_each(queue, FIRST, STRIDE, fail)
if settled > 0 then
  raise_total(queue, "failed", settled)
  if max_minutes then
    try(count_ended, queue, "failed", settled, max_minutes, now_ms)
  end
  emit_if_drained(queue)
  wake_for_free_slot(queue, meta)
end
return answer(outcomes, failure)
