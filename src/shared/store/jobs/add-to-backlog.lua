--[[
Adds jobs to the backlog of their queue and to the lists of their owners. A repeat changes nothing.

KEYS
  backlog      sorted set: backlog of the queue
  totals       hash of the sizes of all backlogs
  owners       set of all owners
  then the job lists of the owners
ARGV
  queue        name of the queue
  owner_count  number of owners
  then the names of the owners, and for each job:
    its id
    its owner, as a position in the list of owners, from 1
    its number of texts
    their bytes

Returns {jobs of the queue before the first of these, texts in the queue, bytes in the queue}.
]]
local added_texts, added_bytes = 0, 0
local first = 3 + owner_count
for at = first, #ARGV, 4 do
  local id, owner, texts, bytes = unpack(ARGV, at, at + 3)
  if redis.call('ZADD', backlog, 0, id .. ' ' .. texts .. ' ' .. bytes) == 1 then
    added_texts = added_texts + texts
    added_bytes = added_bytes + bytes
  end
  redis.call('ZADD', KEYS[3 + owner], 0, id)
end
redis.call('SADD', owners, unpack(ARGV, 3, 2 + owner_count))
return {
  redis.call('ZLEXCOUNT', backlog, '-', '(' .. ARGV[first]),
  redis.call('HINCRBY', totals, 'texts ' .. queue, added_texts),
  redis.call('HINCRBY', totals, 'bytes ' .. queue, added_bytes),
}
