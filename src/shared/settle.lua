--[[
Fixes the outcomes of jobs, each once. The first caller (worker, DELETE or expiry) wins; later ones change nothing.
Several jobs at a time, because those of a batch end together.

KEYS[1]    set of start deadlines
KEYS[1+n]  record of the n-th job

ARGV[1]  seconds to keep the records
ARGV[2]  largest record, in bytes, that travels in the message itself
then for each job:
  its record, JSON
  its id
  channel for anybody who waits on this job
  channel of the API instance that took the job in, or ''

Returns for each job: nil when this call settled it, else the record that was there already.
]]
local answers, settled, messages = {}, {}, {}
for n = 1, #KEYS - 1 do
  local at = 4 * n - 1
  local record, id, done, notify = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local existing = redis.call('SET', KEYS[n + 1], record, 'NX', 'GET', 'EX', ARGV[1])
  answers[n] = existing
  if not existing then
    settled[#settled + 1] = id
    local message = id .. '\n'
    if #record <= tonumber(ARGV[2]) then
      message = message .. record
    end
    redis.call('PUBLISH', done, message)
    if notify ~= '' then
      messages[notify] = messages[notify] and messages[notify] .. '\n' .. message or message
    end
  end
end
if #settled > 0 then
  redis.call('ZREM', KEYS[1], unpack(settled))
end
for channel, message in pairs(messages) do
  redis.call('PUBLISH', channel, message)
end
return answers
