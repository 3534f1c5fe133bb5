--[[
Counts a finished chunk, once. The last chunk completes the batch; any other claims the next ones for the queue
(claim-window.lua).

INCLUDES ../now.lua push-batch-event.lua claim-window.lua tally.lua
KEYS
  batch           hash of the batch
  done            bit per chunk, 1 = finished
  running         set of batches that are queued or processing
  removal         sorted set of batches by the time at which they are removed
  workers         live workers of its model, by the time at which each counts as dead
  outbox          stream of events
  delivery        hash of the delivery of the event batch.completed
  checksums       checksums of the results, 12 bytes per chunk (results.ts), then their counts by label (tally.lua)
ARGV
  id              id of the batch
  chunk           number of the finished chunk
  revision        revision of the weights that classified it
  rows            its rows
  failed_rows     rows with an error
  unknown_rows    rows with a label and tokens that the model cannot read
  unknown_shares  sum of the shares of these tokens, in ten-thousandths
  checksum        checksum of its results
  per_worker      chunks of the window per live worker
  keep_ms         ms to keep a completed batch
  channel         channel of batches with new results
  event           id of the event batch.completed
  max_labels      most labels to count rows of; 0 = the chunk is not counted by label (tally.lua)
  truncated_rows  rows whose text was cut
  score_sum       sum of the best scores, in ten-thousandths
  other_rows      rows with a label whose name is too long to be counted
  then label:NAME or error:CODE, each followed by its rows

Returns {'counted', revision, claimed chunks} (also when the chunk had been counted before), {'completed'},
{'ended'} when the batch is canceled, failed or removed, or {'revision', revision} when the batch is pinned to another revision:
then nothing was counted.
]]
local status = redis.call('HGET', batch, 'status')
if status ~= 'queued' and status ~= 'processing' then
  return { 'ended' }
end
local pinned = redis.call('HGET', batch, 'revision')
if pinned and pinned ~= revision then
  return { 'revision', pinned }
end
local now = now_ms()
if not pinned then
  redis.call('HSET', batch, 'revision', revision)
end
if redis.call('SETBIT', done, chunk, 1) == 0 then
  local finished_rows = redis.call('HINCRBY', batch, 'finished_rows', rows)
  redis.call('HINCRBY', batch, 'failed_rows', failed_rows)
  redis.call('HINCRBY', batch, 'unknown_rows', unknown_rows)
  redis.call('HINCRBY', batch, 'unknown_shares', unknown_shares)
  redis.call('SETRANGE', checksums, chunk * 12, checksum)
  if tonumber(max_labels) > 0 then
    add_tally(batch, checksums, chunk, rows, truncated_rows, other_rows, score_sum, max_labels, 17)
  end
  redis.call('HDEL', batch, 'problem')
  redis.call('PUBLISH', channel, id)
  -- The chunk may have been under way when the batch failed and was resumed: then no chunk has been started since.
  redis.call('HSETNX', batch, 'started', now)
  if redis.call('HINCRBY', batch, 'chunks_done', 1) == tonumber(redis.call('HGET', batch, 'chunks')) then
    redis.call('HSET', batch, 'status', 'completed', 'finished', now)
    redis.call('SREM', running, id)
    redis.call('ZADD', removal, now + keep_ms, id)
    push_batch_event(batch, outbox, delivery, event, 'batch.completed', id, now)
    return { 'completed' }
  end
  -- Two samples at least 5 s apart, of which the older one is the base of the rate.
  local newer = redis.call('HMGET', batch, 'sample_time', 'sample_rows')
  if not newer[1] then
    redis.call('HSET', batch, 'sample_time', now, 'sample_rows', finished_rows)
  elseif now - newer[1] > 5000 then
    redis.call('HSET', batch, 'base_time', newer[1], 'base_rows', newer[2], 'sample_time', now, 'sample_rows', finished_rows)
  end
end
return { 'counted', revision, claim_window(batch, workers, per_worker, now) }
