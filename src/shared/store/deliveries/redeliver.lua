--[[
Starts a new run of a delivery, now and with the whole retry schedule, whatever its status.

INCLUDES ../now.lua
KEYS
  delivery  hash of the delivery
  failed    sorted set of its owner's failed deliveries
  outbox    stream of events
ARGV
  id        id of the delivery

Returns 1, or 0 when it does not exist.
]]
if redis.call('EXISTS', delivery) == 0 then
  return 0
end
-- Attempts that are still planned for the run before find another run and stop.
redis.call('HINCRBY', delivery, 'run', 1)
redis.call('HSET', delivery, 'status', 'pending', 'run_attempts', 0, 'asked', now_ms())
redis.call('HDEL', delivery, 'finished', 'next')
redis.call('PERSIST', delivery)
redis.call('ZREM', failed, id)
redis.call('XADD', outbox, '*', 'id', id)
return 1
