--[[
Makes a batch, unless there is one with this id.

KEYS[1]  the batch
KEYS[2]  set of its owner's batches
KEYS[3]  set of what is to be removed, by time
KEYS[4]  string whose last word must be the id, which it reserves; KEYS[1] when nothing does

ARGV[1]   its id
ARGV[2]   Unix ms at which it is given up, unless a part comes
ARGV[3…]  its fields and their values

Returns 1: there is one, now or before; 0 when the id is not reserved any more.
]]
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 1
end
if KEYS[4] ~= KEYS[1] then
  local reserved = redis.call('GET', KEYS[4])
  if not reserved or string.sub(reserved, -#ARGV[1]) ~= ARGV[1] then
    return 0
  end
end
local now = redis.call('TIME')
redis.call('HSET', KEYS[1], 'created', now[1] * 1000 + math.floor(now[2] / 1000), unpack(ARGV, 3))
redis.call('ZADD', KEYS[2], 0, ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
return 1
