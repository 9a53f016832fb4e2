-- Removes the name that a killed worker left behind. It is one step, because its heartbeats may resume at any moment.
-- KEYS: the names. ARGV: name, its heartbeat.
if redis.call('EXISTS', ARGV[2]) == 0 then redis.call('SREM', KEYS[1], ARGV[1]) end
