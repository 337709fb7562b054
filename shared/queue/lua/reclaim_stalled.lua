-- reclaim_stalled: active -> waiting
-- Refused: the lock lives. A job that stalled more than max_stalled times is to run alone (solo);
--   one that stalls alone, or had no right to that, is doomed (defa): its next claimer fails it
--   without running it.
-- KEYS[1] base of the queue's keys
-- ARGV[1] how often a job may stall before it runs alone, [2] "1" when this stall counts,
--   [3] "1" when it may run alone at all
-- Returns {requeued, of these made solo, of these doomed}
local queue, max_stalled = queue_at(KEYS[1]), tonumber(ARGV[1])
local is_counted, may_run_alone = ARGV[2] == "1", ARGV[3] == "1"
local CHUNK = 200
local DOOM = "job stalled more than allowable limit"

local function locks_of(ids, first, last)
  local locks = {}
  for at = first, last do
    locks[#locks + 1] = queue.base .. ids[at] .. ":lock"
  end
  return locks
end

-- One EXISTS over many locks first: usually all of them live.
local function find_stalled()
  local ids, stalled = redis.call("LRANGE", queue.active, 0, -1), {}
  for first = 1, #ids, CHUNK do
    local locks = locks_of(ids, first, math.min(first + CHUNK - 1, #ids))
    local all_live = redis.call("EXISTS", unpack(locks)) == #locks
    for offset, lock in ipairs(all_live and {} or locks) do
      if redis.call("EXISTS", lock) == 0 then
        stalled[#stalled + 1] = ids[first + offset - 1]
      end
    end
  end
  return stalled
end

local stalled = find_stalled()
if #stalled == 0 then
  return { 0, 0, 0 }
end
allow_when_full(queue)
local meta = read_meta(queue)
trim_events(queue, meta)
local requeued, made_solo, doomed = 0, 0, 0

-- Jobs of a scheduler are never failed for stalling, as in BullMQ.
local function mark(key)
  local is_solo, scheduler = unpack(redis.call("HMGET", key, "solo", "rjk"))
  if count_up(key, "stc") <= max_stalled or scheduler then
    return
  end
  if is_solo or not may_run_alone then
    redis.call("HSET", key, "defa", DOOM)
    doomed = doomed + 1
  else
    redis.call("HSET", key, "solo", "1")
    made_solo = made_solo + 1
  end
end

-- From the newest claim to the oldest, so that the oldest stands first in line again.
for _, id in ipairs(stalled) do
  redis.call("SREM", queue.stalled, id)
  redis.call("LREM", queue.active, 1, id)
  if is_job(queue.base .. id) then
    if is_counted then
      mark(queue.base .. id)
    end
    redis.call("RPUSH", queue.wait, id)
    emit(queue, "waiting", "jobId", id, "prev", "active")
    emit(queue, "stalled", "jobId", id)
    requeued = requeued + 1
  end
end
if requeued > 0 then
  wake(queue, meta)
end
return { requeued, made_solo, doomed }
