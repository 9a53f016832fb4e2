-- Appends commands to send tasks, but for tasks that were handed over before. Returns how many were appended.
-- KEYS: the stream of commands. ARGV: consumer group, sorted set of handed tasks, seconds for which it remembers one that was
-- confirmed, then for each task its id and its command.
local stream, handed = KEYS[1], ARGV[2]
-- If the group exists, this is an error without consequence.
redis.pcall('XGROUP', 'CREATE', stream, ARGV[1], '0', 'MKSTREAM')
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', handed, '-inf', now - tonumber(ARGV[3]))
-- Unconfirmed tasks have an infinite score. If the stream is empty, their commands were lost with it.
if redis.call('XLEN', stream) == 0 then
    redis.call('ZREMRANGEBYSCORE', handed, '+inf', '+inf')
end
local appended = 0
for i = 4, #ARGV, 2 do
    if redis.call('ZADD', handed, 'NX', '+inf', ARGV[i]) == 1 then
        redis.call('XADD', stream, '*', 'c', ARGV[i + 1])
        appended = appended + 1
    end
end
return appended
