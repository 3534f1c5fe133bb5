--[[
Brings a batch to an end before it is completed: canceled, failed or expired. The first end stays.

KEYS[1]  the batch
KEYS[2]  its parts
KEYS[3]  set of batches that are worked on
KEYS[4]  set of what is to be removed, by time
KEYS[5]  set of batches whose blobs are to be removed; looked at only when it expires
KEYS[6]  bytes of input that are kept, of all batches; looked at only when it expires
KEYS[7]  the outbox
KEYS[8]  delivery of the event
KEYS[9]  hash of its owner's open batches, to the parts of each; looked at only when it was open

ARGV[1]  id of the batch
ARGV[2]  its final status
ARGV[3]  the error, JSON
ARGV[4]  ms to keep it
ARGV[5]  statuses that it may have had, with spaces around each
ARGV[6]  channel for those who follow the results
ARGV[7]  id of the event

Returns 1, or 0 when it had ended already, is not there, or is to expire before its time is up.
]]
local status = redis.call('HGET', KEYS[1], 'status')
if not status or not string.find(ARGV[5], ' ' .. status .. ' ', 1, true) then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[2] == 'expired' and tonumber(redis.call('ZSCORE', KEYS[4], ARGV[1]) or 0) > now then
  return 0
end
-- These two first: a full Redis permits them, and with the first write of a script all others.
redis.call('DEL', KEYS[2])
redis.call('HDEL', KEYS[1], 'problem')
if status == 'open' then
  redis.call('HDEL', KEYS[9], ARGV[1])
end
redis.call('HSET', KEYS[1], 'status', ARGV[2], 'finished', now, 'error', ARGV[3])
redis.call('SREM', KEYS[3], ARGV[1])
redis.call('ZADD', KEYS[4], now + ARGV[4], ARGV[1])
if ARGV[2] == 'expired' then
  redis.call('SADD', KEYS[5], ARGV[1])
  redis.call('DECRBY', KEYS[6], redis.call('HGET', KEYS[1], 'bytes'))
  redis.call('HSET', KEYS[1], 'bytes', 0)
end
push_event(KEYS[1], KEYS[7], KEYS[8], ARGV[7], 'batch.' .. ARGV[2], ARGV[1], now)
redis.call('PUBLISH', ARGV[6], ARGV[1])
return 1
