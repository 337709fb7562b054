-- promote_due: delayed -> waiting|prioritized
-- Refused: not due yet. Promoted also while the queue is paused, as in BullMQ.
-- KEYS[1] base of the queue's keys
-- ARGV[1] now in ms, [2] most jobs
-- Returns how many were promoted
local queue, now_ms, limit = queue_at(KEYS[1]), tonumber(ARGV[1]), tonumber(ARGV[2])
allow_when_full(queue)
return promote(queue, read_meta(queue), now_ms, limit)
