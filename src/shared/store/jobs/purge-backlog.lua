--[[
Removes jobs from a backlog that have an outcome already, or will never have one.

INCLUDES remove-from-backlog.lua
KEYS
  backlog  sorted set: backlog of the queue
  totals   hash of the sizes of all backlogs
ARGV
  queue    name of the queue
  then the ids of the jobs
]]
for n = 2, #ARGV do
  remove_from_backlog(backlog, totals, queue, ARGV[n])
end
