--[[
Ends a delivery that is pending, because its owner does not want it any more.

KEYS[1]  the delivery

ARGV[1]  seconds to keep it

Returns {its status from now on, its run, 1 when it was canceled just now}; nil when it is not there.
]]
local status, run, owner = unpack(redis.call('HMGET', KEYS[1], 'status', 'run', 'owner'))
if not owner then
  return nil
end
if (status or 'pending') ~= 'pending' then
  return { status, run or '0', 0 }
end
local time = redis.call('TIME')
-- First, because a full Redis permits it, and with the first write of a script all others.
redis.call('HDEL', KEYS[1], 'next')
redis.call('HSET', KEYS[1], 'status', 'canceled', 'finished', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('EXPIRE', KEYS[1], ARGV[1])
return { 'canceled', run or '0', 1 }
