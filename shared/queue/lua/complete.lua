-- complete: active -> completed
-- Refused: the lock is gone or another token holds it. Kept or deleted as removeOnComplete says.
-- KEYS[1] base of the queue's keys
-- ARGV[1] now in ms; then per job: id, token, result (JSON), tally field or ""
-- Returns per job "settled" or "lock_lost"
local queue, now = queue_at(KEYS[1]), ARGV[1]
local now_ms = tonumber(now)
local FIRST, STRIDE = 2, 4
allow_when_full(queue)
local meta = read_meta(queue)
trim_events(queue, meta)

local function keep_or_delete(id, opts, result)
  local key, rule = queue.base .. id, keep_rule(opts.removeOnComplete)
  if rule.count == 0 then
    delete_job(queue, id)
    return
  end
  count_up(key, "atm")
  redis.call("HSET", key, "returnvalue", result, "finishedOn", now)
  redis.call("ZADD", queue.completed, now, id)
  trim_finished(queue, queue.completed, rule, now_ms)
end

local function complete(id, token, result, tally_field)
  if not take_from_active(queue, id, token) then
    return "lock_lost"
  end
  local key = queue.base .. id
  local opts, parent_key, parent, dedup_id, tally =
    unpack(redis.call("HMGET", key, "opts", "parentKey", "parent", "deid", "tally"))
  try(end_deduplication, queue, meta, id, dedup_id, now_ms)
  try(tell_parent_of_success, parent_key, parent, key, result, now_ms)
  keep_or_delete(id, decode(opts), result)
  emit(queue, "completed", "jobId", id, "returnvalue", result, "prev", "active")
  raise_tally(queue, tally, tally_field)
  return "settled"
end

local outcomes, settled = {}, 0
for at = FIRST, #ARGV, STRIDE do
  local outcome = complete(ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
  outcomes[#outcomes + 1] = outcome
  settled = settled + (outcome == "settled" and 1 or 0)
end
if settled > 0 then
  raise_total(queue, "completed", settled)
  emit_if_drained(queue)
  wake_for_free_slot(queue, meta)
end
return outcomes
