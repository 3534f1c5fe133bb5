--[[
Starts a chunk. The first one starts the batch.

INCLUDES ../now.lua
KEYS
  batch  hash of the batch
  done   bit per chunk, 1 = finished
ARGV
  chunk  number of the chunk

Returns {status or nil, revision that the batch is pinned to or nil, 1 when the chunk is finished already}.
]]
local status = redis.call('HGET', batch, 'status')
if status == 'queued' then
  status = 'processing'
  redis.call('HSET', batch, 'status', status)
  redis.call('HSETNX', batch, 'started', now_ms())
end
return { status, redis.call('HGET', batch, 'revision'), redis.call('GETBIT', done, chunk) }
