--[[
Records that blobs of a batch are damaged. The first report stays until the batch is resumed.

KEYS
  batch     hash of the batch
  done      bit per chunk, 1 = finished
ARGV
  damage    the problem, JSON
  chunk     chunk whose results are damaged; '' = the input is
  revision  revision of those results

Returns 1, or 0 when the batch does not exist or the chunk is already being done again.
]]
if redis.call('EXISTS', batch) == 0 then
  return 0
end
if chunk ~= '' then
  if redis.call('HGET', batch, 'revision') ~= revision or redis.call('GETBIT', done, chunk) == 0 then
    return 0
  end
  local damaged = redis.call('HGET', batch, 'damaged')
  local list = damaged and damaged .. ',' .. chunk or chunk
  local known = damaged and string.find(',' .. damaged .. ',', ',' .. chunk .. ',', 1, true)
  -- Bounds the size of the hash. A reader finds the chunks that are left out after the next resume.
  if not known and #list <= 8192 then
    redis.call('HSET', batch, 'damaged', list)
  end
end
redis.call('HSETNX', batch, 'damage', damage)
return 1
