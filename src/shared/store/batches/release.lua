--[[
Releases the reservation of an upload.

KEYS
  uploads   uploads with a reservation (reservations.lua)
  reserved  bytes that uploads have reserved
ARGV
  upload    the upload
]]
local uploads, reserved = unpack(KEYS)
local upload = unpack(ARGV)

set_reserved(uploads, reserved, upload, 0)
