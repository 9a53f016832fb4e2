-- Reports an outcome and releases the claim; returns 0 if another holds it, or if the task ended before.
-- KEYS: the claim. ARGV: attempt, instance, token, stream, entry, new state (E or W), seconds to keep; and for a stored result, its
-- key, its value and the seconds to keep it (0: for ever).
local claim, attempt = read_claim(KEYS[1]), tonumber(ARGV[1])
local later = claim and claim.attempt > attempt and ARGV[6] == 'W'
if not later and not counts(claim, attempt, ARGV[2], ARGV[3]) then return 0 end
redis.call('XADD', ARGV[4], '*', 'e', ARGV[5])
if ARGV[8] and not later then
  if ARGV[10] == '0' then redis.call('SET', ARGV[8], ARGV[9]) else redis.call('SET', ARGV[8], ARGV[9], 'EX', ARGV[10]) end
  redis.call('PUBLISH', ARGV[8], ARGV[9]) -- as Celery's Redis backend does: the channel has the key's name
end
-- The next attempt's message is sent before the failed one is reported: it may already run, or be over.
if later then return 1 end
redis.call('SET', KEYS[1], write_claim(ARGV[6], ARGV[1]), 'EX', ARGV[7])
return 1
