-- Removes a dead worker from the list. It is one step, because the worker might come back between a check and the removal.
-- KEYS: the names. ARGV: name, its heartbeat, milliseconds that a heartbeat is kept and after which a worker is dead, taken
-- messages, the note that it was cleared, by whom.
local left = redis.call('PTTL', ARGV[2])
if left < 0 then return 'unknown' end
if ARGV[3] - left < ARGV[4] + 0 then return 'beating' end
local run = cjson.decode(redis.call('GET', ARGV[2]))['instance']
for _, owner in ipairs(redis.call('HVALS', ARGV[5])) do
  if owner == run then return 'holding' end
end
redis.call('SREM', KEYS[1], ARGV[1])
redis.call('DEL', ARGV[2])
redis.call('SET', ARGV[6], ARGV[7], 'PX', ARGV[3])
return 'cleared'
