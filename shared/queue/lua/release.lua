-- release: active -> waiting|prioritized
-- Refused: the lock is gone or another token holds it. Back to the front, no attempt counted.
-- KEYS[1] base of the queue's keys
-- ARGV per job: id, token
-- Returns per job "settled" or "lock_lost"
local queue = queue_at(KEYS[1])
local FIRST, STRIDE = 1, 2
allow_when_full(queue)
local meta = read_meta(queue)
local has_work = false

local function release(at)
  local id = ARGV[at]
  if is_foreign(queue.base .. id) then
    return "lock_lost"
  end
  push_to_front(queue, id, number_field(queue.base .. id, "priority"))
  emit(queue, "waiting", "jobId", id, "prev", "active")
  has_work = true
  return "settled"
end

-- From the last to the first, so that the first one named stands first in line again.
local outcomes, _, failure = move_each(queue, FIRST, STRIDE, release, true)
if has_work then
  wake(queue, meta)
end
return answer(outcomes, failure)
