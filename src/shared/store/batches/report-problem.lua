--[[
Records what delays a batch at the moment. A repeated problem keeps the time of its first report. A batch that has ended gets
no problem, although one of its chunks may still have been waiting.

KEYS
  batch    hash of the batch
ARGV
  code     code of the problem
  problem  the problem, JSON
]]
local status, earlier = unpack(redis.call('HMGET', batch, 'status', 'problem'))
if (status == 'queued' or status == 'processing') and not (earlier and cjson.decode(earlier).code == code) then
  redis.call('HSET', batch, 'problem', problem)
end
