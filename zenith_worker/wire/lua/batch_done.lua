-- Acknowledges, removes and counts a batch of entries, the oldest first.
-- No MULTI: a full Redis (`noeviction`) refuses every EXEC, also one that only removes, and this is what makes room.
-- KEYS: the stream. ARGV: group, hash of counters or empty to count nothing, bounds of sizes and of delays in ms as JSON lists, ids of the batch.
redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 5))
redis.call('XDEL', KEYS[1], unpack(ARGV, 5))
if ARGV[2] == '' then return end

-- A full Redis refuses to count (pcall), but not to remove.
local function count(name, bounds, value)
  local bucket = 'inf'
  for _, bound in ipairs(cjson.decode(bounds)) do
    if value <= bound then bucket = bound break end
  end
  redis.pcall('HINCRBY', ARGV[2], name .. ':' .. bucket, 1)
  redis.pcall('HINCRBY', ARGV[2], name .. ':sum', value)
end

-- The ids begin with the time of Redis' own clock, so no other clock matters.
local now = redis.call('TIME')
local came = tonumber(string.match(ARGV[5], '^%d+'))
count('size', ARGV[3], #ARGV - 4)
count('delay', ARGV[4], math.max(0, math.floor(now[1] * 1000 + now[2] / 1000) - came))
