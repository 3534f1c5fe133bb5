--[[
Fixes the outcome of a job, once. The first caller (worker, DELETE or expiry) wins; later ones change nothing.

KEYS[1] record of the job        ARGV[1] the record, JSON
KEYS[2] set of start deadlines   ARGV[2] seconds to keep it
                                 ARGV[3] job id
                                 ARGV[4] channel for anybody who waits on this job
                                 ARGV[5] channel of the API instance that took the job in, or ''
                                 ARGV[6] largest record, in bytes, that travels in the message itself

Returns nil when this call settled the job, else the record that was there already.
]]
local existing = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'GET', 'EX', ARGV[2])
if existing then
  return existing
end
redis.call('ZREM', KEYS[2], ARGV[3])
local message = ARGV[3] .. '\n'
if #ARGV[1] <= tonumber(ARGV[6]) then
  message = message .. ARGV[1]
end
redis.call('PUBLISH', ARGV[4], message)
if ARGV[5] ~= '' then
  redis.call('PUBLISH', ARGV[5], message)
end
return nil
