--[[
Resumes a failed batch. Chunks with damaged results are done again; because of these a batch that is queued, processing or
completed can be resumed, too.

INCLUDES tally.lua
KEYS
  batch      hash of the batch
  done       bit per chunk, 1 = finished
  running    set of batches that are queued or processing
  removal    sorted set of batches by the time at which they are removed
  checksums  checksums of the results, 12 bytes per chunk (results.ts), then their counts by label (tally.lua)
ARGV
  id         id of the batch
  restart    '1' = start from the first chunk, with the weights that are served now
  then the chunks whose results are done again, each followed by its rows

Returns 1, or 0 when the batch has neither failed nor damaged results that can be replaced.
]]
local status, damaged = unpack(redis.call('HMGET', batch, 'status', 'damaged'))
local repairable = damaged and (status == 'completed' or status == 'processing' or status == 'queued')
if status ~= 'failed' and not repairable then
  return 0
end
local from_start = restart == '1'
local counted = {}
for i = 3, #ARGV, 2 do
  counted[i] = redis.call('GETRANGE', checksums, ARGV[i] * 12, ARGV[i] * 12 + 11)
  if #counted[i] < 12 or counted[i] == string.rep('\0', 12) then
    -- An earlier version counted this chunk, and recorded no numbers to subtract.
    from_start = true
  end
end
-- Must be the first write: at maxmemory Redis refuses a script only before its first write, and this command is allowed.
redis.call('HDEL', batch, 'error', 'finished', 'damage', 'damaged', 'sample_time', 'sample_rows', 'base_time', 'base_rows')
if status ~= 'processing' or from_start then
  redis.call('HSET', batch, 'status', 'queued')
end
if from_start then
  redis.call('DEL', done, checksums)
  redis.call('HDEL', batch, 'revision', 'started')
  redis.call('HSET', batch, 'next', 0, 'chunks_done', 0, 'finished_rows', 0, 'failed_rows', 0)
  redis.call('HDEL', batch, 'unknown_rows', 'unknown_shares')
  drop_tally(batch)
else
  for i = 3, #ARGV, 2 do
    if redis.call('SETBIT', done, ARGV[i], 0) == 1 then
      local _, failed, unknown, shares = struct.unpack('<I4I2I2I4', counted[i])
      redis.call('SETRANGE', checksums, ARGV[i] * 12, string.rep('\0', 12))
      redis.call('HINCRBY', batch, 'chunks_done', -1)
      redis.call('HINCRBY', batch, 'finished_rows', 0 - ARGV[i + 1])
      -- Not -failed, which is "-0" for 0.
      redis.call('HINCRBY', batch, 'failed_rows', 0 - failed)
      redis.call('HINCRBY', batch, 'unknown_rows', 0 - unknown)
      redis.call('HINCRBY', batch, 'unknown_shares', 0 - shares)
      subtract_tally(batch, checksums, ARGV[i])
    end
  end
end
redis.call('SADD', running, id)
redis.call('ZREM', removal, id)
return 1
