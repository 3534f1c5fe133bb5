--[[
Takes jobs out of a backlog that will never have an outcome, or have one.

KEYS[1]  backlog of the queue    KEYS[2]  totals of all backlogs    ARGV[1]  queue    then ids of jobs
]]
for n = 2, #ARGV do
  leave_backlog(KEYS[1], KEYS[2], ARGV[1], ARGV[n])
end
