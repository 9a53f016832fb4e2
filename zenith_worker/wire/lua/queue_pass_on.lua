-- Moves a message that a worker holds to the end of its queue, changed; returns 0 if the worker no longer holds it.
-- KEYS: unacked. ARGV: tag, unacked_index, taken, owner, list to go to, message.
if redis.call('HGET', ARGV[3], ARGV[1]) ~= ARGV[4] then return 0 end
-- If the target is not a list, the message below could not go anywhere: the worker keeps holding it.
local kind = redis.call('TYPE', ARGV[5]).ok
if kind ~= 'list' and kind ~= 'none' then return 0 end
redis.call('HDEL', ARGV[3], ARGV[1])
redis.call('ZREM', ARGV[2], ARGV[1])
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('LPUSH', ARGV[5], ARGV[6])
return 1
