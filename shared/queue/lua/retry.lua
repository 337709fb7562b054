-- retry: active -> waiting|prioritized|delayed
-- Refused: the lock is gone or another token holds it. Counts an attempt; no delay means the back
--   of the line.
-- KEYS[1] base of the queue's keys
-- ARGV[1] now in ms; then per job: id, token, reason, stack trace or "", delay in ms
-- Returns per job "settled" or "lock_lost"
local queue, now_ms = queue_at(KEYS[1]), tonumber(ARGV[1])
local FIRST, STRIDE, PROMOTE_LIMIT = 2, 5, 1000
allow_when_full(queue)
local meta = read_meta(queue)
ensure_max_events(queue, meta)
promote(queue, meta, now_ms, PROMOTE_LIMIT)

local has_work, has_delayed = false, false

local function line_up(id, opts)
  push(queue, id, number_field(queue.base .. id, "priority"), opts.lifo == true)
  emit(queue, "waiting", "jobId", id, "prev", "active")
  has_work = true
end

local function retry(at)
  local id, _, reason, stacktrace, delay_text = unpack(ARGV, at, at + STRIDE - 1)
  local key, delay_ms = queue.base .. id, tonumber(delay_text)
  if is_foreign(key) then
    return "lock_lost"
  end
  local opts = decode(redis.call("HGET", key, "opts"))
  write_failure(key, opts, reason, stacktrace)
  count_up(key, "atm")
  if delay_ms > 0 then
    delay(queue, meta, id, now_ms, delay_ms)
    has_delayed = true
  else
    line_up(id, opts)
  end
  return "settled"
end

local outcomes, retried, failure = move_each(queue, FIRST, STRIDE, retry)
raise_total(queue, "retried", retried)
if has_work then
  wake(queue, meta)
end
if has_delayed then
  wake_later(queue)
  wake_for_free_slot(queue, meta)
end
return answer(outcomes, failure)
