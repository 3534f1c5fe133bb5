--[[
Records jobs that were answered without a queue (direct calls), adds them to the lists of their owners, and counts their texts as
ended. Their ids are new: nobody else records an outcome for them.

INCLUDES backlog-members.lua
KEYS
  totals       hash of the sizes of all backlogs
  owners       set of all owners
  then the job lists of the owners
  then the records of the jobs
ARGV
  queue        name of the queue that the jobs would have been in
  ttl_s        seconds to keep the records
  owner_count  number of owners
  then the names of the owners, and for each job:
    its id
    its owner, as a position in the list of owners, from 1
    its number of texts
    its record, JSON
]]
local ended = 0
-- Scores and ids, as ZADD takes them, by owner.
local listed = {}
for n = 1, (#ARGV - 3 - owner_count) / 4 do
  local at = 4 * n + owner_count
  local id, owner, texts, record = unpack(ARGV, at, at + 3)
  redis.call('SET', KEYS[2 + owner_count + n], record, 'EX', ttl_s)
  ended = ended + texts
  local list = listed[tonumber(owner)] or {}
  list[#list + 1] = 0
  list[#list + 1] = id
  listed[tonumber(owner)] = list
end
for owner, list in ipairs(listed) do
  redis.call('ZADD', KEYS[2 + owner], unpack(list))
end
redis.call('SADD', owners, unpack(ARGV, 4, 3 + owner_count))
add_to_totals(totals, queue, 0, 0, ended)
