--[[
Bytes that uploads in progress have reserved: per upload, per batch, and in total. Included in the scripts that change them.

uploads   sorted set of '<batch> <upload>', by the Unix ms at which the reservation ends unless it is renewed
reserved  hash of the reserved bytes of '<batch> <upload>', '<batch>' and 'total'
]]
local function set_reserved(uploads, reserved, upload, bytes, ends)
  local change = bytes - (redis.call('HGET', reserved, upload) or 0)
  if bytes == 0 then
    redis.call('ZREM', uploads, upload)
    redis.call('HDEL', reserved, upload)
  else
    redis.call('ZADD', uploads, ends, upload)
    redis.call('HSET', reserved, upload, bytes)
  end
  for _, sum in ipairs({ string.match(upload, '^%S+'), 'total' }) do
    if change ~= 0 and redis.call('HINCRBY', reserved, sum, change) == 0 then
      redis.call('HDEL', reserved, sum)
    end
  end
end

-- Releases the reservations of processes that died.
local function release_stale(uploads, reserved, now)
  for _, upload in ipairs(redis.call('ZRANGEBYSCORE', uploads, '-inf', now)) do
    set_reserved(uploads, reserved, upload, 0)
  end
end

-- The limit that an upload of `needed` bytes would exceed, beside the stored bytes and the other reservations: 'too_large' (of its
-- batch), 'busy' (of its batch, unless other uploads fail), 'quota' (of all batches), or nil. And the bytes that are free.
local function exceeded_limit(upload, needed, reserved, batch, stored, max_batch_bytes, max_stored_bytes)
  local own = redis.call('HGET', reserved, upload) or 0
  local others_to_batch = (redis.call('HGET', reserved, string.match(upload, '^%S+')) or 0) - own
  local others = (redis.call('HGET', reserved, 'total') or 0) - own
  local free_in_batch = max_batch_bytes - (redis.call('HGET', batch, 'bytes') or 0)
  local free = math.min(free_in_batch - others_to_batch, max_stored_bytes - (redis.call('GET', stored) or 0) - others)
  if needed > free_in_batch then
    return 'too_large'
  elseif needed > free_in_batch - others_to_batch then
    return 'busy'
  elseif needed > free then
    return 'quota'
  end
  return nil, free
end
