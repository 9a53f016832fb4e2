-- Forgets consumers that hold no command and whose worker has no heartbeat: in one step, since forgetting one that has just read a
-- command would lose that. Returns how many. KEYS: the stream of commands. ARGV: consumer group, prefix of the heartbeats.
local forgotten = 0
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local about = {}
    for i = 1, #consumer, 2 do
        about[consumer[i]] = consumer[i + 1]
    end
    if about.pending == 0 and redis.call('EXISTS', ARGV[2] .. about.name) == 0 then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], about.name)
        forgotten = forgotten + 1
    end
end
return forgotten
