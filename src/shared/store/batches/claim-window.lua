--[[
Claims the numbers of the next chunks of a batch: as many as fill its window, which is `per_worker` chunks per live worker that
are queued or processing. The caller must add them to the queue; after a crash in between, the API does so
(src/api/batches/maintenance.ts). Included in finish-chunk.lua and claim-chunks.lua.
]]
local function claim_window(batch, workers, per_worker, now)
  local next, done, chunks = unpack(redis.call('HMGET', batch, 'next', 'chunks_done', 'chunks'))
  local in_flight = next - done
  local window = math.max(1, redis.call('ZCOUNT', workers, now, '+inf')) * per_worker
  local last = math.min(tonumber(chunks), next + math.max(0, window - in_flight))
  local claimed = {}
  for chunk = tonumber(next), last - 1 do
    claimed[#claimed + 1] = chunk
  end
  redis.call('HSET', batch, 'next', last)
  return claimed
end
