--[[
Writes down that jobs have come in: in the backlog of their queue and on the lists of their owners. Doing it again changes
nothing.

KEYS[1]    backlog of the queue
KEYS[2]    totals of all backlogs
KEYS[3]    set of all owners
KEYS[3+n]  list of the n-th owner

ARGV[1]  queue
ARGV[2]  how many owners
then the names of the owners, and for each job:
  its id
  its owner: the n above
  how many texts it has
  their bytes

Returns {jobs of the queue that came before the first one and have no outcome yet, texts in the queue, bytes in it}.
]]
local owners = tonumber(ARGV[2])
local texts, bytes = 0, 0
local first = 3 + owners
for at = first, #ARGV, 4 do
  local id, owner = ARGV[at], tonumber(ARGV[at + 1])
  if redis.call('ZADD', KEYS[1], 0, id .. ' ' .. ARGV[at + 2] .. ' ' .. ARGV[at + 3]) == 1 then
    texts = texts + ARGV[at + 2]
    bytes = bytes + ARGV[at + 3]
  end
  redis.call('ZADD', KEYS[3 + owner], 0, id)
end
redis.call('SADD', KEYS[3], unpack(ARGV, 3, 2 + owners))
return {
  redis.call('ZLEXCOUNT', KEYS[1], '-', '(' .. ARGV[first]),
  redis.call('HINCRBY', KEYS[2], 'texts ' .. ARGV[1], texts),
  redis.call('HINCRBY', KEYS[2], 'bytes ' .. ARGV[1], bytes),
}
