-- complete: active -> completed
-- Refused: the lock is gone or another token holds it. Kept or deleted as removeOnComplete says.
-- Uses: layout, flows, deduplication
-- KEYS[1] base of the queue's keys
-- ARGV[1] now in ms; then per job: id, token, result (JSON), tally field or ""
-- Returns per job "settled" or "lock_lost"
local queue, now = queue_at(KEYS[1]), ARGV[1]
local now_ms = tonumber(now)
local FIRST, STRIDE = 2, 4
allow_when_full(queue)
local meta = read_meta(queue)
trim_events(queue, meta)

local gone_ids, raises = {}, {}

local function keep_or_delete(id, opts, result)
  local key, rule = queue.base .. id, keep_rule(opts.removeOnComplete)
  if rule.count == 0 then
    gone_ids[#gone_ids + 1] = id
    return
  end
  count_up(key, "atm")
  redis.call("HSET", key, "returnvalue", result, "finishedOn", now)
  redis.call("ZADD", queue.completed, now, id)
  trim_finished(queue, queue.completed, rule, now_ms)
end

-- One raise for all jobs of an import that ended alike.
local function count_raise(tally, field)
  local fields = raises[tally or ""] or {}
  raises[tally or ""], fields[field] = fields, (fields[field] or 0) + 1
end

local function complete(at)
  local id, result, tally_field = ARGV[at], ARGV[at + 2], ARGV[at + 3]
  local key = queue.base .. id
  local fields = redis.pcall("HMGET", key, "opts", "parentKey", "parent", "deid", "tally")
  if fields.err then
    return "lock_lost"
  end
  local opts, parent_key, parent, dedup_id, tally = unpack(fields)
  if dedup_id then
    try(end_deduplication, queue, meta, id, dedup_id, now_ms)
  end
  if parent_key then
    try(tell_parent_of_success, parent_key, parent, key, result, now_ms)
  end
  keep_or_delete(id, decode(opts), result)
  emit(queue, "completed", "jobId", id, "returnvalue", result, "prev", "active")
  count_raise(tally, tally_field)
  return "settled"
end

local outcomes, settled, failure = move_each(queue, FIRST, STRIDE, complete)
delete_jobs(queue, gone_ids)
for tally, fields in pairs(raises) do
  for field, by in pairs(fields) do
    raise_tally(queue, tally, field, by)
  end
end
if settled > 0 then
  raise_total(queue, "completed", settled)
  emit_if_drained(queue)
  wake_for_free_slot(queue, meta)
end
return answer(outcomes, failure)
