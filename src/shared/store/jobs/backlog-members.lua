--[[
Finds, counts and removes the members of a backlog, for several jobs of one queue at a time. Included in the scripts that change a
backlog; the structures: backlog.ts.
]]

-- Digits of a job id that all jobs of its group share (contract/ids.ts).
local GROUP_DIGITS = 22

-- The members of those jobs that are in the backlog, by job id. One read per group: its jobs stand side by side.
local function find_in_backlog(backlog, ids)
  local members, searched = {}, {}
  for _, id in ipairs(ids) do
    local group = string.sub(id, 1, GROUP_DIGITS)
    if not searched[group] then
      searched[group] = true
      -- 'g' is the character after the last hexadecimal digit.
      for _, member in ipairs(redis.call('ZRANGEBYLEX', backlog, '[' .. group, '(' .. group .. 'g')) do
        members[string.match(member, '^%S+')] = member
      end
    end
  end
  return members
end

-- Adds to the totals of a queue. Returns its texts and bytes. Two commands for three sums, in half the bytes of three HINCRBY.
local function add_to_totals(totals, queue, texts, bytes, ended)
  local fields = { 'texts ' .. queue, 'bytes ' .. queue, 'ended ' .. queue }
  local sums = redis.call('HMGET', totals, unpack(fields))
  local changed = {}
  for n, change in ipairs({ texts, bytes, ended }) do
    sums[n] = (tonumber(sums[n]) or 0) + change
    if change ~= 0 then
      changed[#changed + 1] = fields[n]
      changed[#changed + 1] = string.format('%.0f', sums[n])
    end
  end
  if #changed > 0 then
    redis.call('HSET', totals, unpack(changed))
  end
  return sums[1], sums[2]
end

-- Removes jobs, subtracts their texts and bytes from the totals, and counts their texts as ended. Others change nothing.
local function remove_from_backlog(backlog, totals, queue, ids)
  local present = find_in_backlog(backlog, ids)
  local removed, texts, bytes = {}, 0, 0
  for _, id in ipairs(ids) do
    local member = present[id]
    if member then
      present[id] = nil
      removed[#removed + 1] = member
      -- A member is '<id> <texts> <bytes>'.
      local texts_of_job, bytes_of_job = string.match(member, ' (%d+) (%d+)$')
      texts = texts + texts_of_job
      bytes = bytes + bytes_of_job
    end
  end
  if #removed > 0 then
    redis.call('ZREM', backlog, unpack(removed))
    add_to_totals(totals, queue, -texts, -bytes, texts)
  end
end
