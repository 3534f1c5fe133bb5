--[[
Removes a delivery, unless it is pending.

KEYS
  delivery  hash of the delivery
  list      sorted set of all deliveries of its owner
  failed    sorted set of the failed ones
ARGV
  id        id of the delivery

Returns 1 when it was removed, 0 when it is pending.
]]
local owner, status = unpack(redis.call('HMGET', delivery, 'owner', 'status'))
if owner and (status or 'pending') == 'pending' then
  return 0
end
redis.call('UNLINK', delivery)
redis.call('ZREM', list, id)
redis.call('ZREM', failed, id)
return 1
