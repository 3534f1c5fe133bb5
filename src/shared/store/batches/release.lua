--[[
Gives back what an upload has reserved.

KEYS[1]  uploads with reservations (reservations.lua)
KEYS[2]  bytes that are reserved

ARGV[1]  the upload
]]
set_reserved(KEYS[1], KEYS[2], ARGV[1], 0)
