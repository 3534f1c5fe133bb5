--[[
Reserves bytes for an upload, or renews what it has reserved.

KEYS[1]  the batch
KEYS[2]  bytes of input that are kept, of all batches
KEYS[3]  uploads with reservations (reservations.lua)
KEYS[4]  bytes that are reserved

ARGV[1]  the upload
ARGV[2]  bytes that it needs in all
ARGV[3]  bytes that it would like to have in all, at least as many
ARGV[4]  ms until the reservation ends, unless it is renewed
ARGV[5]  bytes that one batch may have
ARGV[6]  bytes that all batches may have

Returns {'reserved', bytes}, or the limit that is reached: {'too_large'}, {'busy'} or {'quota'}.
]]
local now = end_stale(KEYS[3], KEYS[4])
local reached, room =
  limit_reached(ARGV[1], tonumber(ARGV[2]), KEYS[4], KEYS[1], KEYS[2], tonumber(ARGV[5]), tonumber(ARGV[6]))
if reached then
  return { reached }
end
local bytes = math.min(tonumber(ARGV[3]), room)
set_reserved(KEYS[3], KEYS[4], ARGV[1], bytes, now + ARGV[4])
return { 'reserved', bytes }
