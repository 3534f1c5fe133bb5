--[[
Removes a batch; its blobs must be deleted afterwards.

KEYS
  batch         hash of the batch
  parts         hash of its parts
  done          bit per chunk
  list          sorted set of the owner's batches
  running       set of batches that are queued or processing
  removal       sorted set of batches by the time at which they are removed
  leftovers     set of batches whose blobs must be deleted
  stored        bytes of input that all batches keep
  reservation   string whose last word reserves the id; the key `batch` when it was created without one
  checksums     checksums of the results
  open_batches  hash of the owner's open batches
ARGV
  id            id of the batch
  due_by        Unix ms by which its removal must be due; '' = remove it in any case

Returns 1, or 0 when the batch does not exist or its removal is not due.
]]
if due_by ~= '' then
  local time = redis.call('ZSCORE', removal, id)
  if not time or tonumber(time) > tonumber(due_by) then
    return 0
  end
end
local bytes = redis.call('HGET', batch, 'bytes')
redis.call('ZREM', removal, id)
if not bytes then
  return 0
end
redis.call('DEL', batch, parts, done, checksums)
redis.call('ZREM', list, id)
redis.call('HDEL', open_batches, id)
redis.call('SREM', running, id)
redis.call('SADD', leftovers, id)
redis.call('DECRBY', stored, bytes)
-- A repeated submission must create another batch: the blobs of this one are deleted, and workers may remember its input.
local reserved = redis.call('GET', reservation)
if reserved and string.sub(reserved, -#id) == id then
  redis.call('DEL', reservation)
end
return 1
