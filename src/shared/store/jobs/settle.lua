--[[
Fixes the outcomes of jobs, each once. The first caller (worker, DELETE or expiry) wins; later ones change nothing.
Several jobs at a time, because those of a batch end together. An outcome that somebody is to be told of goes into the
outbox in the same step, so that neither is there without the other; and the job leaves the backlog.

KEYS[1]          set of start deadlines
KEYS[2]          the outbox, a stream
KEYS[3]          totals of all backlogs
KEYS[2+2n]       record of the n-th job
KEYS[3+2n]       backlog of its queue
then, for each job with an event, in order: the delivery of its event

ARGV[1]  largest record, in bytes, that travels in the message itself
ARGV[2]  how many jobs
then for each job:
  its record, JSON
  seconds to keep it
  its id
  its queue
  channel for anybody who waits on this job
  channel of the API instance that took the job in, or ''
  its event, or '': JSON list [id, name of a field of the delivery, its value, …]; the field snapshot '' is the record

Returns for each job: nil when this call settled it, else the record that was there already.
]]
local answers, settled, messages = {}, {}, {}
local jobs = tonumber(ARGV[2])
local delivery = 3 + 2 * jobs
for n = 1, jobs do
  local at = 7 * n - 4
  local record, ttl, id, queue, done, notify, event = unpack(ARGV, at, at + 6)
  if event ~= '' then
    delivery = delivery + 1
  end
  -- First, because a full Redis permits it, and with the first write of a script all others.
  leave_backlog(KEYS[2 * n + 3], KEYS[3], queue, id)
  local existing = redis.call('SET', KEYS[2 * n + 2], record, 'NX', 'GET', 'EX', ttl)
  answers[n] = existing
  if not existing then
    settled[#settled + 1] = id
    local message = id .. '\n'
    if #record <= tonumber(ARGV[1]) then
      message = message .. record
    end
    redis.call('PUBLISH', done, message)
    if notify ~= '' then
      messages[notify] = messages[notify] and messages[notify] .. '\n' .. message or message
    end
    if event ~= '' then
      local fields = cjson.decode(event)
      local event_id = table.remove(fields, 1)
      for i = 1, #fields, 2 do
        if fields[i] == 'snapshot' and fields[i + 1] == '' then
          fields[i + 1] = record
        end
      end
      redis.call('HSET', KEYS[delivery], unpack(fields))
      redis.call('XADD', KEYS[2], '*', 'id', event_id)
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
