--[[
Ends a batch before it is completed: canceled, failed or expired. The first end stays.

INCLUDES ../now.lua push-batch-event.lua
KEYS
  batch         hash of the batch
  parts         hash of its parts
  running       set of batches that are queued or processing
  removal       sorted set of batches by the time at which they are removed
  leftovers     set of batches whose blobs must be deleted; used only by 'expired'
  stored        bytes of input that all batches keep; used only by 'expired'
  outbox        stream of events
  delivery      hash of the delivery of this end's event
  open_batches  hash of the owner's open batches; used only if the batch was open
ARGV
  id            id of the batch
  to            its final status
  error         the error, JSON
  keep_ms       ms to keep the ended batch
  from          statuses that permit this end (BATCH_TRANSITIONS), with a space before and after each
  channel       channel of batches with new results
  event         id of the event

Returns 1, or 0 when the batch does not exist, has a status that is not in `from`, or is to expire before its time.
]]
local status = redis.call('HGET', batch, 'status')
if not status or not string.find(from, ' ' .. status .. ' ', 1, true) then
  return 0
end
local now = now_ms()
if to == 'expired' and tonumber(redis.call('ZSCORE', removal, id) or 0) > now then
  return 0
end
-- Must be the first writes: at maxmemory Redis refuses a script only before its first write, and these commands are allowed.
redis.call('DEL', parts)
redis.call('HDEL', batch, 'problem')
if status == 'open' then
  redis.call('HDEL', open_batches, id)
end
redis.call('HSET', batch, 'status', to, 'finished', now, 'error', error)
redis.call('SREM', running, id)
redis.call('ZADD', removal, now + keep_ms, id)
if to == 'expired' then
  redis.call('SADD', leftovers, id)
  redis.call('DECRBY', stored, redis.call('HGET', batch, 'bytes'))
  redis.call('HSET', batch, 'bytes', 0)
end
push_batch_event(batch, outbox, delivery, event, 'batch.' .. to, id, now)
redis.call('PUBLISH', channel, id)
return 1
