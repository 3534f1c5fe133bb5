--[[
Says what keeps a batch from going on just now. The same problem keeps the time it was first met. One that has ended has
none: a chunk of it may still have been waiting.

KEYS[1]  the batch

ARGV[1]  its code
ARGV[2]  the problem, JSON
]]
local status, earlier = unpack(redis.call('HMGET', KEYS[1], 'status', 'problem'))
if (status == 'queued' or status == 'processing') and not (earlier and cjson.decode(earlier).code == ARGV[1]) then
  redis.call('HSET', KEYS[1], 'problem', ARGV[2])
end
