-- probe: does once what the scripts and calls of the queue do, on a key of its own.
-- KEYS[1] base of the queue's keys, KEYS[2] and on those of other queues
-- Returns the commands that Redis refuses, each followed by its words.

local key = ""
local refused = {}

local function try(command, ...)
  local answer = redis.pcall(command, ...)
  if type(answer) == "table" and answer.err then
    refused[#refused + 1] = command
    refused[#refused + 1] = answer.err
  end
end

local function try_texts()
  try("DEL", key)
  try("SET", key, "1", "PX", 1000)
  try("GET", key)
  try("MGET", key)
  try("INCR", key)
  try("INCRBY", key, 1)
  try("EXISTS", key)
  try("TYPE", key)
  try("PTTL", key)
  try("PEXPIRE", key, 1000)
  try("UNLINK", key)
end

local function try_hashes()
  try("HSET", key, "a", "1")
  try("HSETNX", key, "b", "1")
  try("HINCRBY", key, "a", 1)
  try("HGET", key, "a")
  try("HMGET", key, "a", "b")
  try("HGETALL", key)
  try("HEXISTS", key, "a")
  try("HDEL", key, "a")
  try("DEL", key)
end

local function try_lists_and_sets()
  try("LPUSH", key, "a")
  try("RPUSH", key, "b")
  try("RPOPLPUSH", key, key)
  try("LLEN", key)
  try("LPOS", key, "a")
  try("LSET", key, 0, "a")
  try("LRANGE", key, 0, -1)
  try("LREM", key, 1, "b")
  try("LTRIM", key, 1, 0)
  try("DEL", key)
  try("SADD", key, "a")
  try("SCARD", key)
  try("SISMEMBER", key, "a")
  try("SMEMBERS", key)
  try("SREM", key, "a")
  try("DEL", key)
end

local function try_ordered_sets_and_streams()
  try("ZADD", key, 1, "a")
  try("ZCARD", key)
  try("ZSCORE", key, "a")
  try("ZRANGE", key, 0, -1)
  try("ZCOUNT", key, "-inf", "+inf")
  try("ZREVRANGE", key, 0, -1)
  try("ZRANGEBYSCORE", key, 0, 1)
  try("ZREVRANGEBYSCORE", key, 1, 0)
  try("ZREMRANGEBYRANK", key, 1, 1)
  try("ZREM", key, "a")
  try("DEL", key)
  try("XADD", key, "*", "a", "1")
  try("XTRIM", key, "MAXLEN", 0)
  try("DEL", key)
end

for _, base in ipairs(KEYS) do
  local queue = queue_at(base)
  key = queue.own .. "probe"
  -- A DEL comes first: from then on a full Redis lets the script write.
  try_texts()
  try_hashes()
  try_lists_and_sets()
  try_ordered_sets_and_streams()
end
return refused
