--[[
Adds an uploaded part to an open batch. The first upload of a number stays.

KEYS[1]  the batch
KEYS[2]  its parts
KEYS[3]  set of what is to be removed, by time
KEYS[4]  bytes of input that are kept, of all batches
KEYS[5]  uploads with reservations (reservations.lua)
KEYS[6]  bytes that are reserved
KEYS[7]  hash of its owner's open batches, to the parts of each

ARGV[1]  id of the batch
ARGV[2]  number of the part
ARGV[3]  the part, JSON
ARGV[4]  its bytes
ARGV[5]  its rows
ARGV[6]  Unix ms at which the batch is given up, unless another part comes
ARGV[7]  bytes that one batch may have
ARGV[8]  bytes that all batches may have
ARGV[9]  its records with a quoted field over several lines
ARGV[10] its upload, whose reservation ends when the part is added
ARGV[11] parts that an owner's open batches may have
ARGV[12] its chunks
ARGV[13] chunks that one batch may have

Returns {'added'}, {'exists', the part that is there}, {'ended', status or nil}, or the limit that is reached:
{'too_large'}, {'busy'}, {'quota'}, {'chunks'} or {'parts'}.
]]
local status = redis.call('HGET', KEYS[1], 'status')
local existing = redis.call('HGET', KEYS[2], ARGV[2])
if existing then
  return { 'exists', existing }
end
if status ~= 'open' then
  return { 'ended', status }
end
-- Its reservation may have ended, and others may have taken the room.
local reached =
  limit_reached(ARGV[10], tonumber(ARGV[4]), KEYS[6], KEYS[1], KEYS[4], tonumber(ARGV[7]), tonumber(ARGV[8]))
if reached then
  return { reached }
end
if (redis.call('HGET', KEYS[1], 'part_chunks') or 0) + ARGV[12] > tonumber(ARGV[13]) then
  return { 'chunks' }
end
local parts = 0
for _, count in ipairs(redis.call('HVALS', KEYS[7])) do
  parts = parts + count
end
if parts >= tonumber(ARGV[11]) then
  return { 'parts' }
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
redis.call('HINCRBY', KEYS[1], 'bytes', ARGV[4])
redis.call('HINCRBY', KEYS[1], 'rows', ARGV[5])
redis.call('HINCRBY', KEYS[1], 'parts', 1)
redis.call('HINCRBY', KEYS[1], 'part_chunks', ARGV[12])
redis.call('HINCRBY', KEYS[7], ARGV[1], 1)
redis.call('HINCRBY', KEYS[1], 'multiline_rows', ARGV[9])
redis.call('INCRBY', KEYS[4], ARGV[4])
set_reserved(KEYS[5], KEYS[6], ARGV[10], 0)
redis.call('ZADD', KEYS[3], ARGV[6], ARGV[1])
return { 'added' }
