--[[
Counts the finished rows of a batch by label and by error code. Included in finish-chunk.lua and resume.lua.

Fields of the batch, which batch-view.ts shows while `counted_rows` equals `finished_rows`: a chunk that a worker of an earlier
version finished is not counted here.
  label:NAME, error:CODE  rows with that best label or error
  other_labels            rows with a label beyond the most that are counted
  truncated_rows          rows whose text was cut
  score_sum               sum of the best scores, in ten-thousandths
  tallied                 names of the fields label:NAME and error:CODE in the order of their first rows, JSON
  tally_width             most names

What each chunk added is kept in `checksums`, behind the checksums of all chunks, so that it can be subtracted when the chunk is
done again. Little-endian: rows, truncated rows and rows with other labels (u16 each), sum of scores (i64), and the rows of each name
in `tallied` (u16).
]]
local MAX_ERROR_CODES = 12
-- A batch whose chunks need more room has its counts until a chunk is done again.
local MAX_ENTRIES_BYTES = 8 * 1024 * 1024

local function drop_tally(batch)
  local names = redis.call('HGET', batch, 'tallied')
  redis.call('HDEL', batch, 'counted_rows', 'other_labels', 'truncated_rows', 'score_sum', 'tallied', 'tally_width',
    unpack(cjson.decode(names or '[]')))
end

-- First byte and size of a chunk's entry; nil when the entries of all chunks have no room.
local function tally_entry(chunk, chunks, width)
  local size = 14 + 2 * width
  if chunks * size <= MAX_ENTRIES_BYTES then
    return chunks * 12 + chunk * size, size
  end
end

-- `pairs_at`: index in ARGV of the first of label:NAME or error:CODE, each followed by its rows.
local function add_tally(batch, checksums, chunk, rows, truncated, other, scores, max_labels, pairs_at)
  local counted, finished, chunks, width, names =
    unpack(redis.call('HMGET', batch, 'counted_rows', 'finished_rows', 'chunks', 'tally_width', 'tallied'))
  local before = finished - rows
  if tonumber(counted or 0) ~= before then
    if before > 0 then
      return
    end
    -- An API of an earlier version restarted the batch.
    drop_tally(batch)
    width, names = nil, nil
  end
  width = tonumber(width or max_labels + MAX_ERROR_CODES)
  names = cjson.decode(names or '[]')
  local index, labels = {}, 0
  for i, name in ipairs(names) do
    index[name] = i
    labels = labels + (string.sub(name, 1, 6) == 'label:' and 1 or 0)
  end
  local added = {}
  local known = #names
  for i = pairs_at, #ARGV, 2 do
    local name, count = ARGV[i], ARGV[i + 1]
    local is_label = string.sub(name, 1, 6) == 'label:'
    if not index[name] and #names < width and not (is_label and labels >= width - MAX_ERROR_CODES) then
      names[#names + 1] = name
      index[name] = #names
      labels = labels + (is_label and 1 or 0)
    end
    if index[name] then
      added[index[name]] = count
      redis.call('HINCRBY', batch, name, count)
    else
      other = other + count
    end
  end
  if #names > known then
    redis.call('HSET', batch, 'tallied', cjson.encode(names))
  end
  redis.call('HSETNX', batch, 'tally_width', width)
  redis.call('HINCRBY', batch, 'counted_rows', rows)
  redis.call('HINCRBY', batch, 'other_labels', other)
  redis.call('HINCRBY', batch, 'truncated_rows', truncated)
  redis.call('HINCRBY', batch, 'score_sum', scores)
  local at = tally_entry(chunk, chunks, width)
  if at then
    local entry = { struct.pack('<I2I2I2i8', rows, truncated, other, scores) }
    for i = 1, #names do
      entry[i + 1] = struct.pack('<I2', added[i] or 0)
    end
    redis.call('SETRANGE', checksums, at, table.concat(entry))
  end
end

-- Before the chunk's rows are subtracted from `finished_rows`. Without its entry, the counts of the batch are lost.
local function subtract_tally(batch, checksums, chunk)
  local chunks, width, names = unpack(redis.call('HMGET', batch, 'chunks', 'tally_width', 'tallied'))
  if not width then
    return
  end
  local at, size = tally_entry(chunk, chunks, width)
  local entry = at and redis.call('GETRANGE', checksums, at, at + size - 1) or ''
  if #entry < 14 or struct.unpack('<I2', entry) == 0 then
    drop_tally(batch)
    return
  end
  -- Not -count, which is "-0" for 0.
  local rows, truncated, other, scores = struct.unpack('<I2I2I2i8', entry)
  redis.call('HINCRBY', batch, 'counted_rows', 0 - rows)
  redis.call('HINCRBY', batch, 'truncated_rows', 0 - truncated)
  redis.call('HINCRBY', batch, 'other_labels', 0 - other)
  redis.call('HINCRBY', batch, 'score_sum', 0 - scores)
  for i, name in ipairs(cjson.decode(names or '[]')) do
    if #entry >= 14 + 2 * i then
      redis.call('HINCRBY', batch, name, 0 - struct.unpack('<I2', entry, 13 + 2 * i))
    end
  end
  redis.call('SETRANGE', checksums, at, string.rep('\0', #entry))
end
