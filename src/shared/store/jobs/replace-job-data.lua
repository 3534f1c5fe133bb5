--[[
Compare-and-set on the data of a BullMQ job: replaces the data if it is still what the caller has read.

KEYS
  job       hash of the BullMQ job
ARGV
  seen      data that the caller has read
  replaced  new data

Returns 1 when the data was replaced.
]]
if redis.call('HGET', job, 'data') ~= seen then
  return 0
end
redis.call('HSET', job, 'data', replaced)
return 1
