-- Removes a message that its owner is done with; returns 0 if it is another's by now.
-- KEYS: unacked. ARGV: tag, unacked_index, taken, owner, when it took the message.
if not still_owns(ARGV[2], ARGV[3], ARGV[1], ARGV[4], ARGV[5]) then return 0 end
redis.call('HDEL', ARGV[3], ARGV[1])
redis.call('ZREM', ARGV[2], ARGV[1])
return redis.call('HDEL', KEYS[1], ARGV[1])
