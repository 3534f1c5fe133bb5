--[[
Says what keeps a batch from going on just now. The same problem keeps the time it was first met.

KEYS[1]  the batch

ARGV[1]  its code
ARGV[2]  the problem, JSON
]]
local earlier = redis.call('HGET', KEYS[1], 'problem')
if redis.call('EXISTS', KEYS[1]) == 1 and not (earlier and cjson.decode(earlier).code == ARGV[1]) then
  redis.call('HSET', KEYS[1], 'problem', ARGV[2])
end
