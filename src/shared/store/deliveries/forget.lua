--[[
Forgets a delivery, unless it is pending.

KEYS[1]  the delivery
KEYS[2]  the list of all deliveries of its owner
KEYS[3]  the list of those that were given up

ARGV[1]  its id

Returns 1 when it is gone, 0 when it stays.
]]
local owner, status = unpack(redis.call('HMGET', KEYS[1], 'owner', 'status'))
if owner and (status or 'pending') == 'pending' then
  return 0
end
redis.call('UNLINK', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
return 1
