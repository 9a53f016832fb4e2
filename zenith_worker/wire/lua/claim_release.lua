-- Releases a claim that this instance holds; returns whether the attempt still has to run.
-- KEYS: the claim. ARGV: attempt, instance.
local claim = read_claim(KEYS[1])
if is_over(claim, ARGV[1]) then return 0 end
if claim and claim.state == 'R' and claim.owner == ARGV[2] then redis.call('DEL', KEYS[1]) end
return 1
