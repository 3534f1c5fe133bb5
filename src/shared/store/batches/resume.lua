--[[
Lets a failed batch go on. Chunks whose results were found damaged are done again; for these, a batch that is completed or
worked on can be resumed, too.

KEYS[1]  the batch
KEYS[2]  bit per chunk: done
KEYS[3]  set of batches that are worked on
KEYS[4]  set of what is to be removed, by time
KEYS[5]  checksums of the results, 12 bytes per chunk (results.ts)

ARGV[1]  id of the batch
ARGV[2]  '1' = from its beginning, with whatever weights are served now
ARGV[3…] chunks whose results are to be done again, each followed by its rows

Returns 1, or 0 when it has not failed and has no damaged results that can be replaced.
]]
local b = KEYS[1]
local status, damaged = unpack(redis.call('HMGET', b, 'status', 'damaged'))
local repairable = damaged and (status == 'completed' or status == 'processing' or status == 'queued')
if status ~= 'failed' and not repairable then
  return 0
end
local restart = ARGV[2] == '1'
local checksums = {}
for i = 3, #ARGV, 2 do
  checksums[i] = redis.call('GETRANGE', KEYS[5], ARGV[i] * 12, ARGV[i] * 12 + 11)
  if #checksums[i] < 12 or checksums[i] == string.rep('\0', 12) then
    -- An earlier version counted it, and left no numbers to take back.
    restart = true
  end
end
-- First: a full Redis permits it, and with the first write of a script all others.
redis.call('HDEL', b, 'error', 'finished', 'damage', 'damaged', 'sample_time', 'sample_rows', 'base_time', 'base_rows')
if status ~= 'processing' or restart then
  redis.call('HSET', b, 'status', 'queued')
end
if restart then
  redis.call('DEL', KEYS[2], KEYS[5])
  redis.call('HDEL', b, 'revision', 'started')
  redis.call('HSET', b, 'next', 0, 'chunks_done', 0, 'finished_rows', 0, 'failed_rows', 0)
  redis.call('HDEL', b, 'unknown_rows', 'unknown_shares')
else
  for i = 3, #ARGV, 2 do
    if redis.call('SETBIT', KEYS[2], ARGV[i], 0) == 1 then
      local _, failed, unknown, shares = struct.unpack('<I4I2I2I4', checksums[i])
      redis.call('SETRANGE', KEYS[5], ARGV[i] * 12, string.rep('\0', 12))
      redis.call('HINCRBY', b, 'chunks_done', -1)
      redis.call('HINCRBY', b, 'finished_rows', 0 - ARGV[i + 1])
      -- Not -failed, which for none is "-0".
      redis.call('HINCRBY', b, 'failed_rows', 0 - failed)
      redis.call('HINCRBY', b, 'unknown_rows', 0 - unknown)
      redis.call('HINCRBY', b, 'unknown_shares', 0 - shares)
    end
  end
end
redis.call('SADD', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
return 1
