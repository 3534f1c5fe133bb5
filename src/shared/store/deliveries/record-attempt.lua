--[[
Writes down how an attempt to deliver ended, and what comes next.

KEYS[1]  the delivery
KEYS[2]  set of its owner's failed deliveries

ARGV[1]  id of the delivery
ARGV[2]  run that the attempt belongs to
ARGV[3]  the attempt, JSON
ARGV[4]  status from now on: pending, delivered or failed
ARGV[5]  Unix ms of now
ARGV[6]  Unix ms of the next attempt, or seconds to keep the delivery when there is none
ARGV[7]  most attempts that are kept

Returns 1, or 0 when the delivery is not there, has ended, or was asked for again meanwhile. An attempt that was under way
when the delivery was canceled is written down all the same: if it got through, the delivery is delivered (1); if not, it
stays canceled (0).
]]
local state = redis.call('HMGET', KEYS[1], 'status', 'run')
local canceled = state[1] == 'canceled'
if (state[1] ~= 'pending' and not canceled) or (state[2] or '0') ~= ARGV[2] then
  return 0
end
local n = redis.call('HINCRBY', KEYS[1], 'attempts', 1)
redis.call('HINCRBY', KEYS[1], 'run_attempts', 1)
redis.call('HSET', KEYS[1], 'attempt:' .. n, ARGV[3])
redis.call('HDEL', KEYS[1], 'attempt:' .. (n - ARGV[7]))
if canceled and ARGV[4] ~= 'delivered' then
  return 0
end
redis.call('HSET', KEYS[1], 'status', ARGV[4])
if ARGV[4] == 'pending' then
  redis.call('HSET', KEYS[1], 'next', ARGV[6])
else
  redis.call('HDEL', KEYS[1], 'next')
  redis.call('HSET', KEYS[1], 'finished', ARGV[5])
  redis.call('EXPIRE', KEYS[1], ARGV[6])
  if ARGV[4] == 'failed' then
    redis.call('ZADD', KEYS[2], 0, ARGV[1])
  end
end
return 1
