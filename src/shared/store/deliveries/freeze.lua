--[[
Fixes what a delivery says, once. Later attempts, other processes and redeliveries all send these bytes.

KEYS[1]  the delivery

ARGV[1]  the body

Returns the body from now on, or nil when the delivery is not there.
]]
if redis.call('HEXISTS', KEYS[1], 'owner') == 0 then
  return nil
end
if redis.call('HSETNX', KEYS[1], 'body', ARGV[1]) == 1 then
  redis.call('HSETNX', KEYS[1], 'status', 'pending')
  redis.call('HDEL', KEYS[1], 'snapshot')
  return ARGV[1]
end
return redis.call('HGET', KEYS[1], 'body')
