--[[
Reserves bytes for an upload, or renews its reservation.

INCLUDES ../now.lua reservations.lua
KEYS
  batch             hash of the batch
  stored            bytes of input that all batches keep
  uploads           uploads with a reservation (reservations.lua)
  reserved          bytes that uploads have reserved
ARGV
  upload            the upload
  needed            bytes that it needs in all
  wanted            bytes that it prefers to have in all, at least `needed`
  ttl_ms            ms until the reservation ends, unless it is renewed
  max_batch_bytes   limit for one batch
  max_stored_bytes  limit for all batches

Returns {'reserved', bytes}, or the limit that would be exceeded: {'too_large'}, {'busy'} or {'quota'}.
]]
local now = now_ms()
release_stale(uploads, reserved, now)
local exceeded, free =
  exceeded_limit(upload, tonumber(needed), reserved, batch, stored, tonumber(max_batch_bytes), tonumber(max_stored_bytes))
if exceeded then
  return { exceeded }
end
local bytes = math.min(tonumber(wanted), free)
set_reserved(uploads, reserved, upload, bytes, now + ttl_ms)
return { 'reserved', bytes }
