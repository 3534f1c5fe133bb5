--[[
Makes a batch, unless there is one with this id.

KEYS[1]  the batch
KEYS[2]  set of its owner's batches
KEYS[3]  set of what is to be removed, by time

ARGV[1]   its id
ARGV[2]   Unix ms at which it is given up, unless a part comes
ARGV[3…]  its fields and their values

Returns 1, or 0 when it was there already.
]]
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
local now = redis.call('TIME')
redis.call('HSET', KEYS[1], 'created', now[1] * 1000 + math.floor(now[2] / 1000), unpack(ARGV, 3))
redis.call('ZADD', KEYS[2], 0, ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
return 1
