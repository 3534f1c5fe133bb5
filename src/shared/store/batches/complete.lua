--[[
Closes an open batch: its input is complete, and its chunks can be queued.

INCLUDES ../now.lua
KEYS
  batch         hash of the batch
  parts         hash of its parts
  removal       sorted set of batches by the time at which they are removed
  running       set of batches that are queued or processing
  open_batches  hash of the owner's open batches
ARGV
  id            id of the batch
  part_count    number of parts when the manifest was written
  chunks        number of chunks
  manifest      name of the manifest

Returns {'queued'}, {'changed'} when a part was added meanwhile, or {'ended', status or nil}.
]]
local status = redis.call('HGET', batch, 'status')
if status ~= 'open' then
  return { 'ended', status }
end
-- Parts are only ever added, so an equal number means equal parts.
if redis.call('HLEN', parts) ~= tonumber(part_count) then
  return { 'changed' }
end
-- Must be the first write: at maxmemory Redis refuses a script only before its first write, and this command is allowed.
redis.call('DEL', parts)
redis.call('HDEL', open_batches, id)
redis.call('HSET', batch, 'status', 'queued', 'queued', now_ms(), 'chunks', chunks, 'manifest', manifest)
redis.call('ZREM', removal, id)
redis.call('SADD', running, id)
return { 'queued' }
