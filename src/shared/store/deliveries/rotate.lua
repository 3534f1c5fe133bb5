--[[
Gives an owner a new secret. The ones before stay valid for a while, so that receivers can change over.

KEYS[1]  hash of the owner's secrets: secret → Unix ms at which it was replaced plus the overlap, '' = the current one

ARGV[1]  the new secret
ARGV[2]  Unix ms of now
ARGV[3]  ms that a replaced secret stays valid
ARGV[4]  '1' = only if there is none yet
ARGV[5]  how many may be valid at a time; with as many there already nothing changes

Returns the secrets and their ends, in turn.
]]
local secrets = redis.call('HGETALL', KEYS[1])
if #secrets > 0 and ARGV[4] == '1' then
  return secrets
end
local valid = 1
for i = 2, #secrets, 2 do
  local ends = secrets[i]
  if ends == '' then
    ends = ARGV[2] + ARGV[3]
  end
  if tonumber(ends) > tonumber(ARGV[2]) then
    valid = valid + 1
  end
end
if valid > tonumber(ARGV[5]) then
  return secrets
end
for i = 1, #secrets, 2 do
  local ends = secrets[i + 1]
  if ends == '' then
    redis.call('HSET', KEYS[1], secrets[i], ARGV[2] + ARGV[3])
  elseif tonumber(ends) < tonumber(ARGV[2]) then
    redis.call('HDEL', KEYS[1], secrets[i])
  end
end
redis.call('HSET', KEYS[1], ARGV[1], '')
return redis.call('HGETALL', KEYS[1])
