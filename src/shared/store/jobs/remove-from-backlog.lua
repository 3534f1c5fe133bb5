--[[
Removes a job from the backlog of its queue, subtracts its texts and bytes from the totals, and counts its texts as ended. A job
that is not in the backlog changes nothing. Included in the scripts that end jobs; the structures: backlog.ts.
]]
local function remove_from_backlog(backlog, totals, queue, id)
  -- A member is '<id> <texts> <bytes>', and '!' is the character after the space.
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
