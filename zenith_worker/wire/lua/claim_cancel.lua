-- Cancels a task that is not running.
-- KEYS: the claim. ARGV: seconds to keep, prefix of the keys of living instances.
local claim = read_claim(KEYS[1])
if claim then
  if claim.state == 'E' then return 'ended' end
  if claim.state == 'R' and redis.call('EXISTS', ARGV[2] .. claim.owner) == 1 then return 'taken' end
end
redis.call('SET', KEYS[1], write_claim('C', 0), 'EX', ARGV[1])
return 'cancelled'
