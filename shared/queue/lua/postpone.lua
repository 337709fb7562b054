-- postpone: active -> delayed
-- Refused: the lock is gone or another token holds it. No attempt counted: nothing was tried.
-- KEYS[1] base of the queue's keys
-- ARGV[1] now in ms; then per job: id, token, delay in ms
-- Returns per job "settled" or "lock_lost"
local queue, now_ms = queue_at(KEYS[1]), tonumber(ARGV[1])
local FIRST, STRIDE = 2, 3
allow_when_full(queue)
local meta = read_meta(queue)
ensure_max_events(queue, meta)
local has_delayed = false

local function postpone(at)
  local id = ARGV[at]
  if is_foreign(queue.base .. id) then
    return "lock_lost"
  end
  delay(queue, meta, id, now_ms, tonumber(ARGV[at + 2]))
  has_delayed = true
  return "settled"
end

local outcomes, _, failure = move_each(queue, FIRST, STRIDE, postpone)
if has_delayed then
  wake_later(queue)
  wake_for_free_slot(queue, meta)
end
return answer(outcomes, failure)
