-- reclaim_stalled: active -> waiting
-- Refused: the lock lives. A job that stalled more than max_stalled times is to run alone (solo);
--   one that stalls alone, or had no right to that, is doomed (defa): its next claimer fails it
--   without running it; never one of a scheduler.
-- KEYS[1] base of the queue's keys
-- ARGV[1] how often a job may stall before it runs alone, [2] "1" when this stall counts,
--   [3] "1" when it may run alone at all
-- Returns {requeued, of these made solo, of these doomed, the ids of the requeued}
local queue, max_stalled = queue_at(KEYS[1]), tonumber(ARGV[1])
local is_counted, may_run_alone = ARGV[2] == "1", ARGV[3] == "1"
local DOOM = "job stalled more than allowable limit"

-- One EXISTS over many locks first: usually all of them live.
local function find_stalled()
  local ids, stalled = redis.call("LRANGE", queue.active, 0, -1), {}
  local locks = locks_of(queue, ids)
  for first = 1, #ids, CHUNK do
    local last = math.min(first + CHUNK - 1, #ids)
    if redis.call("EXISTS", unpack(locks, first, last)) < last - first + 1 then
      for at = first, last do
        if redis.call("EXISTS", locks[at]) == 0 then
          stalled[#stalled + 1] = ids[at]
        end
      end
    end
  end
  return stalled
end

local stalled = find_stalled()
if #stalled == 0 then
  return { 0, 0, 0, {} }
end
check_keys(queue)
allow_when_full(queue)
local meta = read_meta(queue)
trim_events(queue, meta)
local requeued, made_solo, doomed = {}, 0, 0

-- Jobs of a scheduler are never failed for stalling, as in BullMQ.
local function mark(key)
  local is_solo, scheduler = unpack(redis.call("HMGET", key, "solo", "rjk"))
  if count_up(key, "stc") <= max_stalled then
    return
  end
  if may_run_alone and not is_solo then
    redis.call("HSET", key, "solo", "1")
    made_solo = made_solo + 1
  elseif not scheduler then
    redis.call("HSET", key, "defa", DOOM)
    doomed = doomed + 1
  end
end

-- From the newest claim to the oldest, so that the oldest stands first in line again.
call_in_chunks("SREM", queue.stalled, stalled)
local wanted, distinct = {}, {}
for _, id in ipairs(stalled) do
  if not wanted[id] then
    wanted[id], distinct[#distinct + 1] = true, id
  end
end
stalled = distinct
remove_from_active(queue, stalled, wanted)
for _, id in ipairs(stalled) do
  if is_job(queue.base .. id) then
    if is_counted then
      mark(queue.base .. id)
    end
    redis.call("RPUSH", queue.wait, id)
    emit(queue, "waiting", "jobId", id, "prev", "active")
    emit(queue, "stalled", "jobId", id)
    requeued[#requeued + 1] = id
  end
end
if #requeued > 0 then
  wake(queue, meta)
end
return { #requeued, made_solo, doomed, requeued }
