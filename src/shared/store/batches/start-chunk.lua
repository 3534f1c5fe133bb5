--[[
A worker begins with a chunk.

KEYS[1]  the batch
KEYS[2]  bit per chunk: done

ARGV[1]  chunk

Returns {status or nil, revision that the batch is pinned to or nil, 1 when the chunk is done already}.
]]
local status = redis.call('HGET', KEYS[1], 'status')
if status == 'queued' then
  local now = redis.call('TIME')
  status = 'processing'
  redis.call('HSET', KEYS[1], 'status', status)
  redis.call('HSETNX', KEYS[1], 'started', now[1] * 1000 + math.floor(now[2] / 1000))
end
return { status, redis.call('HGET', KEYS[1], 'revision'), redis.call('GETBIT', KEYS[2], ARGV[1]) }
