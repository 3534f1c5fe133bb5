--[[
Bytes that uploads under way have reserved, of each, of each batch and of all. Stands in front of the scripts that change them.

uploads  sorted set of '<batch> <upload>', by the Unix ms at which its reservation ends unless it is renewed
bytes    hash of '<batch> <upload>', '<batch>' and 'total' to the bytes that are reserved
]]
local function set_reserved(uploads, bytes, upload, wanted, ends)
  local change = wanted - (redis.call('HGET', bytes, upload) or 0)
  if wanted == 0 then
    redis.call('ZREM', uploads, upload)
    redis.call('HDEL', bytes, upload)
  else
    redis.call('ZADD', uploads, ends, upload)
    redis.call('HSET', bytes, upload, wanted)
  end
  for _, sum in ipairs({ string.match(upload, '^%S+'), 'total' }) do
    if change ~= 0 and redis.call('HINCRBY', bytes, sum, change) == 0 then
      redis.call('HDEL', bytes, sum)
    end
  end
end

-- Ends what processes reserved that did not live to release it.
local function end_stale(uploads, bytes)
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  for _, upload in ipairs(redis.call('ZRANGEBYSCORE', uploads, '-inf', now)) do
    set_reserved(uploads, bytes, upload, 0)
  end
  return now
end

-- Which limit so many bytes of an upload would pass, beside what is stored and what the other uploads have reserved: nil,
-- 'too_large' (that of its batch), 'busy' (the same, unless other uploads fail) or 'quota' (that of all batches). And how many
-- it may have.
local function limit_reached(upload, needed, bytes, batch, stored, batch_limit, stored_limit)
  local held = redis.call('HGET', bytes, upload) or 0
  local others_to_batch = (redis.call('HGET', bytes, string.match(upload, '^%S+')) or 0) - held
  local others = (redis.call('HGET', bytes, 'total') or 0) - held
  local of_batch = batch_limit - (redis.call('HGET', batch, 'bytes') or 0)
  local room = math.min(of_batch - others_to_batch, stored_limit - (redis.call('GET', stored) or 0) - others)
  if needed > of_batch then
    return 'too_large'
  elseif needed > of_batch - others_to_batch then
    return 'busy'
  elseif needed > room then
    return 'quota'
  end
  return nil, room
end
