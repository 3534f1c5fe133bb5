--[[
Reads the parts of an open batch.

KEYS
  parts       hash of its parts
ARGV
  max_number  highest number that a part may have
  max_bytes   most bytes to read

Returns the parts, JSON, by number; nil when they have more bytes, which only earlier versions permitted.
]]
local left = redis.call('HLEN', parts)
local bytes = 0
local found = {}
for number = 1, left > 0 and tonumber(max_number) or 0 do
  local part = redis.call('HGET', parts, number)
  if part then
    bytes = bytes + #part
    if bytes > tonumber(max_bytes) then
      return nil
    end
    found[#found + 1] = part
    left = left - 1
    if left == 0 then
      break
    end
  end
end
return found
