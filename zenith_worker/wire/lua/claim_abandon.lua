-- Removes the owner of a claim, like the death of a whole worker; returns whether the attempt still has to run.
-- KEYS: the claim. ARGV: attempt, instance, pid of the dead process or 0 for any, seconds to keep, token of the delivery that is
-- over or empty for any, 1 if that was a crash.
local claim = read_claim(KEYS[1])
if is_over(claim, ARGV[1]) then return 0 end
if claim and claim.state == 'R' and claim.owner == ARGV[2] and (ARGV[3] == '0' or claim.pid == ARGV[3])
    and (ARGV[5] == '' or claim.token == ARGV[5]) then
  local pid = ARGV[6] == '1' and claim.pid or 0
  redis.call('SET', KEYS[1], write_claim('R', claim.attempt, '', claim.token, pid, claim.crashes), 'EX', ARGV[4])
end
return 1
