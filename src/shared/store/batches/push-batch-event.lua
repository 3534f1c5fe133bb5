--[[
Writes the delivery for the end of a batch and puts its event into the outbox, if the batch has a webhook for that event.
Included in the scripts that end a batch; settle.lua does the same for jobs. The fields of a delivery: contract/events.ts.
]]
local function push_batch_event(batch, outbox, delivery, event, type, source, now)
  local json = redis.call('HGET', batch, 'webhook')
  if not json then
    return
  end
  local webhook = cjson.decode(json)
  local wanted = not webhook.events
  for _, name in ipairs(webhook.events or {}) do
    wanted = wanted or name == type
  end
  if not wanted then
    return
  end
  redis.call('HSET', batch, 'event', event)
  redis.call('HSET', delivery, 'type', type, 'source', source, 'owner', redis.call('HGET', batch, 'owner'),
    'url', webhook.url, 'trace', webhook.trace, 'created', now, 'snapshot', cjson.encode(redis.call('HGETALL', batch)))
  redis.call('XADD', outbox, '*', 'id', event)
end
