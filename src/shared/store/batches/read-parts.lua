--[[
Reads the parts of an open batch.

KEYS[1]  its parts

ARGV[1]  highest number that a part may have
ARGV[2]  bytes to read at most

Returns the parts, JSON, by number; nil when they have more bytes, which only earlier versions kept.
]]
local left = redis.call('HLEN', KEYS[1])
local bytes = 0
local parts = {}
for number = 1, left > 0 and tonumber(ARGV[1]) or 0 do
  local part = redis.call('HGET', KEYS[1], number)
  if part then
    bytes = bytes + #part
    if bytes > tonumber(ARGV[2]) then
      return nil
    end
    parts[#parts + 1] = part
    left = left - 1
    if left == 0 then
      break
    end
  end
end
return parts
