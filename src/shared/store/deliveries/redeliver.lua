--[[
Has a delivery made again, from now on and with the whole schedule, whatever became of it so far.

KEYS[1]  the delivery
KEYS[2]  set of its owner's failed deliveries
KEYS[3]  the outbox

ARGV[1]  id of the delivery

Returns 1, or 0 when it is not there.
]]
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
-- A new run: what is still planned for the one before finds out that it is not wanted any more.
redis.call('HINCRBY', KEYS[1], 'run', 1)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'status', 'pending', 'run_attempts', 0, 'asked', now)
redis.call('HDEL', KEYS[1], 'finished', 'next')
redis.call('PERSIST', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('XADD', KEYS[3], '*', 'id', ARGV[1])
return 1
