--[[
Adds an uploaded part to an open batch. The first upload of a part number is kept.

INCLUDES reservations.lua
KEYS
  batch             hash of the batch
  parts             hash of its parts
  removal           sorted set of batches by the time at which they are removed
  stored            bytes of input that all batches keep
  uploads           uploads with a reservation (reservations.lua)
  reserved          bytes that uploads have reserved
  open_batches      hash of the owner's open batches: id → number of parts
ARGV
  id                id of the batch
  number            number of the part
  part              the part, JSON
  bytes, rows       size of the part
  expires_at        Unix ms at which the batch expires, unless another part comes
  max_batch_bytes   limit for one batch
  max_stored_bytes  limit for all batches
  multiline_rows    rows with a quoted field over several lines
  upload            upload whose reservation ends when the part is added
  max_open_parts    limit for the parts of the owner's open batches
  chunks            chunks of the part
  max_chunks        limit for one batch

Returns {'added'}, {'exists', the part that was kept}, {'ended', status or nil}, or the limit that would be exceeded:
{'too_large'}, {'busy'}, {'quota'}, {'chunks'} or {'parts'}.
]]
local status = redis.call('HGET', batch, 'status')
local existing = redis.call('HGET', parts, number)
if existing then
  return { 'exists', existing }
end
if status ~= 'open' then
  return { 'ended', status }
end
-- The reservation may have ended, and other uploads may have taken the room.
local exceeded =
  exceeded_limit(upload, tonumber(bytes), reserved, batch, stored, tonumber(max_batch_bytes), tonumber(max_stored_bytes))
if exceeded then
  return { exceeded }
end
if (redis.call('HGET', batch, 'part_chunks') or 0) + chunks > tonumber(max_chunks) then
  return { 'chunks' }
end
local open_parts = 0
for _, count in ipairs(redis.call('HVALS', open_batches)) do
  open_parts = open_parts + count
end
if open_parts >= tonumber(max_open_parts) then
  return { 'parts' }
end
redis.call('HSET', parts, number, part)
redis.call('HINCRBY', batch, 'bytes', bytes)
redis.call('HINCRBY', batch, 'rows', rows)
redis.call('HINCRBY', batch, 'parts', 1)
redis.call('HINCRBY', batch, 'part_chunks', chunks)
redis.call('HINCRBY', open_batches, id, 1)
redis.call('HINCRBY', batch, 'multiline_rows', multiline_rows)
redis.call('INCRBY', stored, bytes)
set_reserved(uploads, reserved, upload, 0)
redis.call('ZADD', removal, expires_at, id)
return { 'added' }
