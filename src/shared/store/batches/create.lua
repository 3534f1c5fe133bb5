--[[
Creates a batch, unless one with this id exists.

INCLUDES ../now.lua
KEYS
  batch         hash of the batch
  list          sorted set of the owner's batches
  removal       sorted set of batches by the time at which they are removed
  reservation   string whose last word must be the id, which it reserves; the key `batch` when nothing reserves the id
  open_batches  hash of the owner's open batches: id → number of parts
ARGV
  id            id of the batch
  expires_at    Unix ms at which the batch expires, unless a part comes
  max_open      limit for the owner's open batches
  max_kept      limit for all of the owner's batches
  then the fields of the batch, each followed by its value

Returns 'created', also when the batch existed before; 'unreserved' when the id is no longer reserved; or the limit that
would be exceeded, 'open' or 'kept', which frees the id.
]]
if redis.call('EXISTS', batch) == 1 then
  return 'created'
end
if reservation ~= batch then
  local reserved = redis.call('GET', reservation)
  if not reserved or string.sub(reserved, -#id) ~= id then
    return 'unreserved'
  end
end
local exceeded = redis.call('ZCARD', list) >= tonumber(max_kept) and 'kept'
  or redis.call('HLEN', open_batches) >= tonumber(max_open) and 'open'
if exceeded then
  redis.call('DEL', reservation)
  return exceeded
end
redis.call('HSET', batch, 'created', now_ms(), unpack(ARGV, 5))
redis.call('ZADD', list, 0, id)
redis.call('ZADD', removal, expires_at, id)
redis.call('HSET', open_batches, id, 0)
return 'created'
