-- Stores a result and wakes its waiters, as Celery's Redis backend does: the channel has the key's name.
-- KEYS: the result. ARGV: its value, seconds to keep it (0: for ever).
if ARGV[2] == '0' then redis.call('SET', KEYS[1], ARGV[1]) else redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2]) end
redis.call('PUBLISH', KEYS[1], ARGV[1])
