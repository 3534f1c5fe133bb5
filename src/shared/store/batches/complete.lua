--[[
Closes an open batch: its input is whole, its chunks can be handed out.

KEYS[1]  the batch
KEYS[2]  its parts
KEYS[3]  set of what is to be removed, by time
KEYS[4]  set of batches that are worked on
KEYS[5]  hash of its owner's open batches, to the parts of each

ARGV[1]  id of the batch
ARGV[2]  how many parts it had when its manifest was written
ARGV[3]  chunks
ARGV[4]  name of the manifest

Returns {'queued'}, {'changed'} when a part came meanwhile, or {'ended', status or nil}.
]]
local status = redis.call('HGET', KEYS[1], 'status')
if status ~= 'open' then
  return { 'ended', status }
end
-- Parts are only ever added, so their number says whether they are the same.
if redis.call('HLEN', KEYS[2]) ~= tonumber(ARGV[2]) then
  return { 'changed' }
end
-- First: a full Redis permits it, and with the first write of a script all others.
redis.call('DEL', KEYS[2])
redis.call('HDEL', KEYS[5], ARGV[1])
local now = redis.call('TIME')
redis.call('HSET', KEYS[1], 'status', 'queued', 'queued', now[1] * 1000 + math.floor(now[2] / 1000),
  'chunks', ARGV[3], 'manifest', ARGV[4])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('SADD', KEYS[4], ARGV[1])
return { 'queued' }
