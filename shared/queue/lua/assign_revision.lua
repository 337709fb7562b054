-- assign_revision: active -> active
-- Refused: the lock is gone or another token holds it. A revision once stored stays,
--   nonsense in its place does not.
-- KEYS[1] base of the queue's keys
-- ARGV per job: id, token, revision
-- Returns per job the stored revision, or "lock_lost"
local queue = queue_at(KEYS[1])
local FIRST, STRIDE = 1, 3
allow_when_full(queue)

local function assign(id, token, revision)
  local key = queue.base .. id
  if redis.pcall("GET", key .. ":lock") ~= token or not is_job(key) then
    return "lock_lost"
  end
  if not whole(redis.call("HGET", key, "revision"), 1, MAX_WHOLE) then
    redis.call("HSET", key, "revision", revision)
  end
  return redis.call("HGET", key, "revision")
end

local stored = {}
for at = FIRST, #ARGV, STRIDE do
  stored[#stored + 1] = assign(ARGV[at], ARGV[at + 1], ARGV[at + 2])
end
return stored
