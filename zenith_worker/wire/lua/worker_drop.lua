-- Forgets the name that a killed worker left behind. One step: it may begin to beat again just now.
-- KEYS: the names. ARGV: name, its heartbeat.
if redis.call('EXISTS', ARGV[2]) == 0 then redis.call('SREM', KEYS[1], ARGV[1]) end
