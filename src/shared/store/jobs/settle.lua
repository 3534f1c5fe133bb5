--[[
Records the outcomes of jobs, each once: the first caller (worker, DELETE or expiry) wins, later ones change nothing. Several jobs
in one call, because those of a micro-batch end together. In the same step a job leaves the backlog, and its event enters the
outbox if it has a webhook for that event.

INCLUDES backlog-members.lua
KEYS
  deadlines    sorted set of the jobs that must be started in time
  outbox       stream of events
  totals       hash of the sizes of all backlogs
  then the backlogs of the queues
  then the records of the jobs
  then for each job with an event, in order: the delivery of that event
ARGV
  max_inline   largest record, in bytes, that is published along with the id
  queue_count  number of queues
  job_count    number of jobs
  then the names of the queues, and for each job:
    its id
    its queue, as a position in the list of queues, from 1
    its record, JSON
    seconds to keep the record
    channel that its outcome is announced on
    '1' if it had a deadline, or ''
    its event, or '': JSON list [id, name of a field of the delivery, its value, …]; the snapshot '' stands for the record

Returns for each job: nil when this call settled it, else the record that existed.
]]
local first_record = 4 + queue_count
local delivery = first_record + job_count - 1
local ids_of = {}
for queue = 1, tonumber(queue_count) do
  ids_of[queue] = {}
end
for n = 1, tonumber(job_count) do
  local id, queue = unpack(ARGV, 7 * n - 3 + queue_count)
  local ids = ids_of[tonumber(queue)]
  ids[#ids + 1] = id
end
-- Must be the first write: at maxmemory Redis refuses a script only before its first write, and this command is one that it allows.
for queue, ids in ipairs(ids_of) do
  remove_from_backlog(KEYS[3 + queue], totals, ARGV[3 + queue], ids)
end

local answers = redis.call('MGET', unpack(KEYS, first_record, delivery))
local recorded, with_deadline, messages = {}, {}, {}
for n = 1, tonumber(job_count) do
  local at = 7 * n - 3 + queue_count
  local id, _, record, ttl_s, channel, had_deadline, event = unpack(ARGV, at, at + 6)
  if event ~= '' then
    delivery = delivery + 1
  end
  -- A job may be named twice. Not nil, which would end the list.
  answers[n] = answers[n] or recorded[id] or false
  if not answers[n] then
    recorded[id] = record
    redis.call('SET', KEYS[first_record + n - 1], record, 'EX', ttl_s)
    if had_deadline ~= '' then
      with_deadline[#with_deadline + 1] = id
    end
    local message = id .. '\n'
    if #record <= tonumber(max_inline) then
      message = message .. record
    end
    local earlier = messages[channel]
    messages[channel] = earlier and earlier .. '\n' .. message or message
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
if #with_deadline > 0 then
  redis.call('ZREM', deadlines, unpack(with_deadline))
end
for channel, message in pairs(messages) do
  redis.call('PUBLISH', channel, message)
end
return answers
