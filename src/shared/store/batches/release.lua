--[[
Releases the reservation of an upload.

INCLUDES reservations.lua
KEYS
  uploads   uploads with a reservation (reservations.lua)
  reserved  bytes that uploads have reserved
ARGV
  upload    the upload
]]
set_reserved(uploads, reserved, upload, 0)
