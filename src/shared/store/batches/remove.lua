--[[
Forgets a batch; its blobs are then to be removed.

KEYS[1]  the batch
KEYS[2]  its parts
KEYS[3]  bit per chunk: done
KEYS[4]  set of its owner's batches
KEYS[5]  set of batches that are worked on
KEYS[6]  set of what is to be removed, by time
KEYS[7]  set of batches whose blobs are to be removed
KEYS[8]  bytes of input that are kept, of all batches
KEYS[9]  string whose last word reserves the id; KEYS[1] when it was made without one
KEYS[10] checksums of the results
KEYS[11] hash of its owner's open batches, to the parts of each

ARGV[1]  id of the batch
ARGV[2]  Unix ms by which its time must be up; '' = whenever that is

Returns 1, or 0 when it was not there, or its time is not up.
]]
if ARGV[2] ~= '' then
  local time = redis.call('ZSCORE', KEYS[6], ARGV[1])
  if not time or tonumber(time) > tonumber(ARGV[2]) then
    return 0
  end
end
local bytes = redis.call('HGET', KEYS[1], 'bytes')
redis.call('ZREM', KEYS[6], ARGV[1])
if not bytes then
  return 0
end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[10])
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('HDEL', KEYS[11], ARGV[1])
redis.call('SREM', KEYS[5], ARGV[1])
redis.call('SADD', KEYS[7], ARGV[1])
redis.call('DECRBY', KEYS[8], bytes)
-- What is submitted again is another batch: this one's blobs go, and workers may still know its input.
local reserved = redis.call('GET', KEYS[9])
if reserved and string.sub(reserved, -#ARGV[1]) == ARGV[1] then
  redis.call('DEL', KEYS[9])
end
return 1
