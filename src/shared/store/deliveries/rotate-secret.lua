--[[
Gives an owner a new secret. Earlier secrets stay valid for a while, so that receivers can change over.

KEYS
  secrets     hash of the owner's secrets: secret → Unix ms until which it signs, '' = the current one
ARGV
  fresh       the new secret
  now         Unix ms
  overlap_ms  ms that a replaced secret stays valid
  only_first  '1' = only if the owner has none yet
  max         most secrets that may be valid at a time; when they are, nothing changes

Returns the secrets, each followed by its end.
]]
local found = redis.call('HGETALL', secrets)
if #found > 0 and only_first == '1' then
  return found
end
local valid = 1
for i = 2, #found, 2 do
  local ends = found[i]
  if ends == '' then
    ends = now + overlap_ms
  end
  if tonumber(ends) > tonumber(now) then
    valid = valid + 1
  end
end
if valid > tonumber(max) then
  return found
end
for i = 1, #found, 2 do
  local ends = found[i + 1]
  if ends == '' then
    redis.call('HSET', secrets, found[i], now + overlap_ms)
  elseif tonumber(ends) < tonumber(now) then
    redis.call('HDEL', secrets, found[i])
  end
end
redis.call('HSET', secrets, fresh, '')
return redis.call('HGETALL', secrets)
