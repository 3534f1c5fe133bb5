--[[
Records the outcomes of jobs, each once: the first caller (worker, DELETE or expiry) wins, later ones change nothing. Several jobs
in one call, because those of a micro-batch end together. In the same step a job leaves the backlog, and its event enters the
outbox if it has a webhook for that event.

INCLUDES remove-from-backlog.lua
KEYS
  deadlines   sorted set of the jobs that must be started in time
  outbox      stream of events
  totals      hash of the sizes of all backlogs
  then for each job:
    its record
    the backlog of its queue
  then for each job with an event, in order: the delivery of that event
ARGV
  max_inline  largest record, in bytes, that is published along with the id
  job_count   number of jobs
  then for each job:
    its record, JSON
    seconds to keep the record
    its id
    its queue
    channel for anybody who waits for this job
    channel of the API instance that took the job in, or ''
    its event, or '': JSON list [id, name of a field of the delivery, its value, …]; the snapshot '' stands for the record

Returns for each job: nil when this call settled it, else the record that existed.
]]
local answers, settled, messages = {}, {}, {}
local delivery = 3 + 2 * job_count
for n = 1, tonumber(job_count) do
  local key = 2 + 2 * n
  local record_key, backlog = KEYS[key], KEYS[key + 1]
  local at = 7 * n - 4
  local record, ttl_s, id, queue, done_channel, instance_channel, event = unpack(ARGV, at, at + 6)
  if event ~= '' then
    delivery = delivery + 1
  end
  -- Must be the first write: at maxmemory Redis refuses a script only before its first write, and this command is one that it allows.
  remove_from_backlog(backlog, totals, queue, id)
  local existing = redis.call('SET', record_key, record, 'NX', 'GET', 'EX', ttl_s)
  answers[n] = existing
  if not existing then
    settled[#settled + 1] = id
    local message = id .. '\n'
    if #record <= tonumber(max_inline) then
      message = message .. record
    end
    redis.call('PUBLISH', done_channel, message)
    if instance_channel ~= '' then
      local earlier = messages[instance_channel]
      messages[instance_channel] = earlier and earlier .. '\n' .. message or message
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
      redis.call('XADD', outbox, '*', 'id', event_id)
    end
  end
end
if #settled > 0 then
  redis.call('ZREM', deadlines, unpack(settled))
end
for channel, message in pairs(messages) do
  redis.call('PUBLISH', channel, message)
end
return answers
