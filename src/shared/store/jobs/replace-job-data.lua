--[[
Replaces the data of a waiting BullMQ job, if it is still what the caller has read.

KEYS[1]  the job's hash    ARGV[1]  data as read    ARGV[2]  new data

Returns 1 when it was replaced.
]]
if redis.call('HGET', KEYS[1], 'data') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'data', ARGV[2])
return 1
