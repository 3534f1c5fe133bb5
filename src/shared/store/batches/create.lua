--[[
Makes a batch, unless there is one with this id.

KEYS[1]  the batch
KEYS[2]  set of its owner's batches
KEYS[3]  set of what is to be removed, by time
KEYS[4]  string whose last word must be the id, which it reserves; KEYS[1] when nothing does
KEYS[5]  hash of its owner's open batches, to the parts of each

ARGV[1]   its id
ARGV[2]   Unix ms at which it is given up, unless a part comes
ARGV[3]   open batches that an owner may have
ARGV[4]   batches that an owner may have
ARGV[5…]  its fields and their values

Returns 'created': there is one, now or before; 'unreserved' when the id is not reserved any more; or the limit that is
reached, 'open' or 'kept': the id is then free again.
]]
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 'created'
end
if KEYS[4] ~= KEYS[1] then
  local reserved = redis.call('GET', KEYS[4])
  if not reserved or string.sub(reserved, -#ARGV[1]) ~= ARGV[1] then
    return 'unreserved'
  end
end
local reached = redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[4]) and 'kept'
  or redis.call('HLEN', KEYS[5]) >= tonumber(ARGV[3]) and 'open'
if reached then
  redis.call('DEL', KEYS[4])
  return reached
end
local now = redis.call('TIME')
redis.call('HSET', KEYS[1], 'created', now[1] * 1000 + math.floor(now[2] / 1000), unpack(ARGV, 5))
redis.call('ZADD', KEYS[2], 0, ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
redis.call('HSET', KEYS[5], ARGV[1], 0)
return 'created'
