--[[
Lets a failed batch go on.

KEYS[1]  the batch
KEYS[2]  bit per chunk: done
KEYS[3]  set of batches that are worked on
KEYS[4]  set of what is to be removed, by time

ARGV[1]  id of the batch
ARGV[2]  '1' = from its beginning, with whatever weights are served now

Returns 1, or 0 when it has not failed.
]]
local b = KEYS[1]
if redis.call('HGET', b, 'status') ~= 'failed' then
  return 0
end
redis.call('HSET', b, 'status', 'queued')
redis.call('HDEL', b, 'error', 'finished', 'sample_time', 'sample_rows', 'base_time', 'base_rows')
if ARGV[2] == '1' then
  redis.call('DEL', KEYS[2])
  redis.call('HDEL', b, 'revision', 'started')
  redis.call('HSET', b, 'next', 0, 'chunks_done', 0, 'finished_rows', 0, 'failed_rows', 0)
  redis.call('HDEL', b, 'unknown_rows', 'unknown_shares')
end
redis.call('SADD', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
return 1
