--[[
Fixes the body of a delivery, once. Later attempts, other processes and redeliveries all send these bytes.

KEYS
  delivery  hash of the delivery
ARGV
  body      the body

Returns the body that is fixed, or nil when the delivery does not exist.
]]
if redis.call('HEXISTS', delivery, 'owner') == 0 then
  return nil
end
if redis.call('HSETNX', delivery, 'body', body) == 1 then
  redis.call('HSETNX', delivery, 'status', 'pending')
  redis.call('HDEL', delivery, 'snapshot')
  return body
end
return redis.call('HGET', delivery, 'body')
