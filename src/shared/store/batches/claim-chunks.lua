--[[
Claims the next chunks of a batch for the queue, as many as fill its window (claim-window.lua).

INCLUDES ../now.lua claim-window.lua
KEYS
  batch       hash of the batch
  workers     live workers of its model, by the time at which each counts as dead
ARGV
  per_worker  chunks of the window per live worker

Returns the numbers of the claimed chunks; nil when the batch is neither queued nor processing.
]]
local status = redis.call('HGET', batch, 'status')
if status ~= 'queued' and status ~= 'processing' then
  return nil
end
return claim_window(batch, workers, per_worker, now_ms())
