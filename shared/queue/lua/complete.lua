-- complete: active -> completed
-- Refused: the lock is gone or another token holds it; where children count, one is not done yet, or
--   has failed its parent. Kept or deleted as removeOnComplete says, the job's own or its worker's.
-- Uses: layout, flows, deduplication, metrics
-- KEYS[1] base of the queue's keys
-- ARGV[1] now in ms, [2] the worker's removeOnComplete (JSON object) or "", [3] minutes to be counted
--   or "", [4] "1" where children count; then per job: id, token, result (JSON), tally field or ""
-- Returns per job "settled", "lock_lost", "has_children" or "child_failed"
local queue, now = queue_at(KEYS[1]), ARGV[1]
local now_ms = tonumber(now)
local workers_rule = ARGV[2] ~= "" and keep_rule(decode(ARGV[2])) or {}
local max_minutes, children_count = tonumber(ARGV[3]), ARGV[4] == "1"
local FIRST, STRIDE = 5, 4
allow_when_full(queue)
local meta = read_meta(queue)
trim_events(queue, meta)

local gone_ids, raises = {}, {}

local function keep_or_delete(id, opts, result)
  local key, rule = queue.base .. id, rule_of(opts.removeOnComplete, workers_rule)
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

local function has_members(command, key)
  local count = redis.pcall(command, key)
  return type(count) == "number" and count > 0
end

-- Why jobs may not complete, by their places in ARGV. Most have no children, so all are asked at once.
local function refused_by_children()
  local children, refusals = {}, {}
  for at = FIRST, #ARGV, STRIDE do
    local key = queue.base .. ARGV[at]
    children[#children + 1], children[#children + 2] = key .. ":dependencies", key .. ":unsuccessful"
  end
  if call_in_chunks("EXISTS", nil, children) == 0 then
    return refusals
  end
  for at = FIRST, #ARGV, STRIDE do
    local key = queue.base .. ARGV[at]
    if has_members("SCARD", key .. ":dependencies") then
      refusals[at] = "has_children"
    elseif has_members("ZCARD", key .. ":unsuccessful") then
      refusals[at] = "child_failed"
    end
  end
  return refusals
end

local refusals = children_count and refused_by_children()
local outcomes, settled, failure = move_each(queue, FIRST, STRIDE, complete, false, refusals)
delete_jobs(queue, gone_ids)
for tally, fields in pairs(raises) do
  for field, by in pairs(fields) do
    raise_tally(queue, tally, field, by)
  end
end
if settled > 0 then
  raise_total(queue, "completed", settled)
  if max_minutes then
    try(count_ended, queue, "completed", settled, max_minutes, now_ms)
  end
  emit_if_drained(queue)
  wake_for_free_slot(queue, meta)
end
return answer(outcomes, failure)
