--[[
Records the outcome of a delivery attempt and what follows it.

KEYS
  delivery     hash of the delivery
  failed       sorted set of its owner's failed deliveries
ARGV
  id           id of the delivery
  run          run that the attempt belongs to
  attempt      the attempt, JSON
  to           the new status: pending, delivered or failed
  now          Unix ms
  next_or_ttl  pending: Unix ms of the next attempt; otherwise seconds to keep the delivery
  max_logged   most attempts that are kept

Returns 1, or 0 when the delivery does not exist, has ended, or has started another run. An attempt that was under way when the
delivery was canceled is recorded all the same: success makes the delivery delivered (1), failure leaves it canceled (0).
]]
local status, current_run = unpack(redis.call('HMGET', delivery, 'status', 'run'))
local canceled = status == 'canceled'
if (status ~= 'pending' and not canceled) or (current_run or '0') ~= run then
  return 0
end
local n = redis.call('HINCRBY', delivery, 'attempts', 1)
redis.call('HINCRBY', delivery, 'run_attempts', 1)
redis.call('HSET', delivery, 'attempt:' .. n, attempt)
redis.call('HDEL', delivery, 'attempt:' .. (n - max_logged))
if canceled and to ~= 'delivered' then
  return 0
end
redis.call('HSET', delivery, 'status', to)
if to == 'pending' then
  redis.call('HSET', delivery, 'next', next_or_ttl)
else
  redis.call('HDEL', delivery, 'next')
  redis.call('HSET', delivery, 'finished', now)
  redis.call('EXPIRE', delivery, next_or_ttl)
  if to == 'failed' then
    redis.call('ZADD', failed, 0, id)
  end
end
return 1
