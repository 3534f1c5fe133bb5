--[[
Counts a finished chunk, once, and hands out the numbers of the next ones: as many as keep the window full.

KEYS[1]  the batch
KEYS[2]  bit per chunk: done
KEYS[3]  set of batches that are worked on
KEYS[4]  set of what is to be removed, by time
KEYS[5]  live workers of its model, by the time they count as dead
KEYS[6]  the outbox
KEYS[7]  delivery of the event that it is completed
KEYS[8]  checksums of the results, 12 bytes per chunk (results.ts)

ARGV[1]  id of the batch
ARGV[2]  chunk that is done; '' = none, only hand out
ARGV[3]  revision of the weights that did it
ARGV[4]  its rows
ARGV[5]  how many of them are errors
ARGV[6]  chunks of the window per live worker
ARGV[7]  ms to keep a finished batch
ARGV[8]  channel for those who follow the results
ARGV[9]  id of the event that it is completed
ARGV[10] how many of the rows have labels and tokens outside the vocabulary
ARGV[11] sum of the shares of these tokens, in ten-thousandths
ARGV[12] checksum of the results of the chunk that is done

Returns {what, revision or nil, next chunk, …}; what is
'more' (the chunks are to be added to the queue), 'completed', 'ended' (canceled, failed or gone), or 'revision'
(the batch is pinned to another one; nothing was counted).
]]
local b = KEYS[1]
local status = redis.call('HGET', b, 'status')
if status ~= 'queued' and status ~= 'processing' then
  return { 'ended' }
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local revision = redis.call('HGET', b, 'revision')
local chunks = tonumber(redis.call('HGET', b, 'chunks'))
if ARGV[2] ~= '' then
  if revision and revision ~= ARGV[3] then
    return { 'revision', revision }
  end
  if not revision then
    revision = ARGV[3]
    redis.call('HSET', b, 'revision', revision)
  end
  if redis.call('SETBIT', KEYS[2], ARGV[2], 1) == 0 then
    local finished = redis.call('HINCRBY', b, 'finished_rows', ARGV[4])
    redis.call('HINCRBY', b, 'failed_rows', ARGV[5])
    redis.call('HINCRBY', b, 'unknown_rows', ARGV[10])
    redis.call('HINCRBY', b, 'unknown_shares', ARGV[11])
    redis.call('SETRANGE', KEYS[8], ARGV[2] * 12, ARGV[12])
    redis.call('HDEL', b, 'problem')
    redis.call('PUBLISH', ARGV[8], ARGV[1])
    if redis.call('HINCRBY', b, 'chunks_done', 1) == chunks then
      redis.call('HSET', b, 'status', 'completed', 'finished', now)
      redis.call('SREM', KEYS[3], ARGV[1])
      redis.call('ZADD', KEYS[4], now + ARGV[7], ARGV[1])
      push_event(b, KEYS[6], KEYS[7], ARGV[9], 'batch.completed', ARGV[1], now)
      return { 'completed' }
    end
    -- Two samples at least 5 s apart, of which the older one is the base of the rate.
    local newer = redis.call('HMGET', b, 'sample_time', 'sample_rows')
    if not newer[1] then
      redis.call('HSET', b, 'sample_time', now, 'sample_rows', finished)
    elseif now - newer[1] > 5000 then
      redis.call('HSET', b, 'base_time', newer[1], 'base_rows', newer[2], 'sample_time', now, 'sample_rows', finished)
    end
  end
end
local next = tonumber(redis.call('HGET', b, 'next'))
local in_flight = next - redis.call('HGET', b, 'chunks_done')
local window = math.max(1, redis.call('ZCOUNT', KEYS[5], now, '+inf')) * ARGV[6]
local last = math.min(chunks, next + math.max(0, window - in_flight))
local answer = { 'more', revision }
for n = next, last - 1 do
  answer[#answer + 1] = n
end
redis.call('HSET', b, 'next', last)
return answer
