--[[
Removes jobs from a backlog that have an outcome already, or will never have one.

INCLUDES backlog-members.lua
KEYS
  backlog  sorted set: backlog of the queue
  totals   hash of the sizes of all backlogs
ARGV
  queue    name of the queue
  then the ids of the jobs
]]
remove_from_backlog(backlog, totals, queue, { unpack(ARGV, 2) })
