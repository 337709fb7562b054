-- extend: active -> active
-- Refused: the lock is gone or another token holds it; it is never made anew.
-- KEYS[1] base of the queue's keys
-- ARGV[1] lock in ms; then per job: id, token
-- Returns the ids whose lock is lost
local queue, lock_ms = queue_at(KEYS[1]), ARGV[1]
local FIRST, STRIDE = 2, 2
allow_when_full(queue)

local function extend(id, token)
  local lock = queue.base .. id .. ":lock"
  if redis.pcall("GET", lock) ~= token then
    return false
  end
  redis.call("SET", lock, token, "PX", lock_ms)
  redis.call("SREM", queue.stalled, id)
  return true
end

local lost = {}
for at = FIRST, #ARGV, STRIDE do
  local id, token = ARGV[at], ARGV[at + 1]
  if not extend(id, token) then
    lost[#lost + 1] = id
  end
end
return lost
