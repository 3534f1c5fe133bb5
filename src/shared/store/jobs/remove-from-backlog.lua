--[[
Takes a job out of the backlog of its queue, and its texts and bytes off the totals; the texts then count as ended. One that is not in it changes nothing.
Stands in front of the scripts that need it; backlog.ts says what is kept.
]]
local function leave_backlog(backlog, totals, queue, id)
  -- A member begins with the id, and the character after the space is what no number goes beyond.
  local member = redis.call('ZRANGEBYLEX', backlog, '[' .. id .. ' ', '(' .. id .. '!', 'LIMIT', 0, 1)[1]
  if not member then
    return
  end
  local texts, bytes = string.match(member, ' (%d+) (%d+)$')
  redis.call('ZREM', backlog, member)
  redis.call('HINCRBY', totals, 'texts ' .. queue, -texts)
  redis.call('HINCRBY', totals, 'bytes ' .. queue, -bytes)
  redis.call('HINCRBY', totals, 'ended ' .. queue, texts)
end
