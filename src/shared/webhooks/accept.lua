--[[
Freezes what a delivery says, once. Later attempts, other processes and redeliveries all send these bytes.

KEYS[1]  the delivery
KEYS[2]  set of its owner's deliveries

ARGV[1]  id of the delivery
ARGV[2]  the body

Returns 1, or 0 when it had a body already, or is not there.
]]
if redis.call('HEXISTS', KEYS[1], 'owner') == 0 or redis.call('HSETNX', KEYS[1], 'body', ARGV[2]) == 0 then
  return 0
end
redis.call('HSETNX', KEYS[1], 'status', 'pending')
redis.call('HDEL', KEYS[1], 'snapshot')
redis.call('ZADD', KEYS[2], 0, ARGV[1])
return 1
