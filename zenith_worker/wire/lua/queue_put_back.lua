-- Puts a message that a worker holds back into its queue; returns 0 if there is none, if its owner lives, or if its attempt is over.
-- It is one step, so that there is never a second copy, and none is taken from a worker that came back.
-- KEYS: unacked. ARGV: tag, unacked_index, taken, owner, when it took the message, key that exists while the owner must keep it
-- (empty: it loses it), list to go to, message, the task's claim (empty: it is elsewhere), the message's attempt.
if ARGV[6] ~= '' and redis.call('EXISTS', ARGV[6]) == 1 then return 0 end
if not still_owns(ARGV[2], ARGV[3], ARGV[1], ARGV[4], ARGV[5]) then return 0 end
-- If the target is not a list, the message below could not go anywhere: the worker keeps holding it.
local kind = redis.call('TYPE', ARGV[7]).ok
if kind ~= 'list' and kind ~= 'none' then return 0 end
redis.call('HDEL', ARGV[3], ARGV[1])
redis.call('ZREM', ARGV[2], ARGV[1])
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
if ARGV[9] ~= '' and is_over(read_claim(ARGV[9]), ARGV[10]) then return 0 end
redis.call('RPUSH', ARGV[7], ARGV[8])
return 1
