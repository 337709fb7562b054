-- unschedule: delayed -> absent
-- Refused: there is no such scheduler. Its pending job goes with it only while it is delayed.
-- Uses: layout, lines, placing, scheduling
-- KEYS[1] base of the queue's keys
-- ARGV[1] the scheduler's id
-- Returns 1, or 0 where there was none
local queue, scheduler_id = queue_at(KEYS[1]), ARGV[1]
local scheduler = scheduler_at(queue, scheduler_id)
allow_when_full(queue)
local pending_ms = read_pending_ms(scheduler)
local pending_id = pending_ms and id_of_run(scheduler, pending_ms)
if pending_id and redis.call("ZREM", queue.delayed, pending_id) == 1 then
  delete_job(queue, pending_id)
  emit(queue, "removed", "jobId", pending_id, "prev", "delayed")
end
local was_there = redis.call("ZREM", scheduler.times, scheduler.id)
if was_there == 1 then
  redis.call("DEL", scheduler.key)
end
return was_there
