--[[
Adds jobs to the backlog of their queue and to the lists of their owners. A repeat changes nothing.

INCLUDES backlog-members.lua
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
local first = 3 + owner_count
local ids = {}
for at = first, #ARGV, 4 do
  ids[#ids + 1] = ARGV[at]
end
local present = find_in_backlog(backlog, ids)
local added, added_texts, added_bytes = {}, 0, 0
-- Scores and ids, as ZADD takes them, by owner.
local listed = {}
for at = first, #ARGV, 4 do
  local id, owner, texts, bytes = unpack(ARGV, at, at + 3)
  if not present[id] then
    added[#added + 1] = 0
    added[#added + 1] = id .. ' ' .. texts .. ' ' .. bytes
    added_texts = added_texts + texts
    added_bytes = added_bytes + bytes
  end
  local list = listed[tonumber(owner)] or {}
  list[#list + 1] = 0
  list[#list + 1] = id
  listed[tonumber(owner)] = list
end
if #added > 0 then
  redis.call('ZADD', backlog, unpack(added))
end
for owner, list in ipairs(listed) do
  redis.call('ZADD', KEYS[3 + owner], unpack(list))
end
redis.call('SADD', owners, unpack(ARGV, 3, 2 + owner_count))
local texts, bytes = add_to_totals(totals, queue, added_texts, added_bytes, 0)
return { redis.call('ZLEXCOUNT', backlog, '-', '(' .. ARGV[first]), texts, bytes }
