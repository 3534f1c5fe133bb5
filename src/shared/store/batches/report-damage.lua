--[[
Says that something of a batch is damaged in the blob store. The first report stays until the batch is resumed.

KEYS[1]  the batch
KEYS[2]  bit per chunk: done

ARGV[1]  the problem, JSON
ARGV[2]  chunk whose results are damaged; '' = it is about the input
ARGV[3]  revision of those results

Returns 1, or 0 when the batch is gone or the chunk is to be done again already.
]]
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
if ARGV[2] ~= '' then
  if redis.call('HGET', KEYS[1], 'revision') ~= ARGV[3] or redis.call('GETBIT', KEYS[2], ARGV[2]) == 0 then
    return 0
  end
  local damaged = redis.call('HGET', KEYS[1], 'damaged')
  local list = damaged and damaged .. ',' .. ARGV[2] or ARGV[2]
  local known = damaged and string.find(',' .. damaged .. ',', ',' .. ARGV[2] .. ',', 1, true)
  -- A bound on the size of the hash. What is left out is found again by whoever reads on after a resume.
  if not known and #list <= 8192 then
    redis.call('HSET', KEYS[1], 'damaged', list)
  end
end
redis.call('HSETNX', KEYS[1], 'damage', ARGV[1])
return 1
