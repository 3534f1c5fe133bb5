--[[
Cancels a pending delivery at its owner's request.

INCLUDES ../now.lua
KEYS
  delivery  hash of the delivery
ARGV
  keep_s    seconds to keep it

Returns {its status, its run, 1 when this call canceled it}; nil when it does not exist.
]]
local status, run, owner = unpack(redis.call('HMGET', delivery, 'status', 'run', 'owner'))
if not owner then
  return nil
end
if (status or 'pending') ~= 'pending' then
  return { status, run or '0', 0 }
end
-- Must be the first write: at maxmemory Redis refuses a script only before its first write, and this command is allowed.
redis.call('HDEL', delivery, 'next')
redis.call('HSET', delivery, 'status', 'canceled', 'finished', now_ms())
redis.call('EXPIRE', delivery, keep_s)
return { 'canceled', run or '0', 1 }
