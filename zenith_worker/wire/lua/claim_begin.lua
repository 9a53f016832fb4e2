-- Claims a task before its body runs.
-- KEYS: the claim. ARGV: attempt, instance, tag, pid, seconds to keep, prefix of the keys of living instances.
local claim, attempt = read_claim(redis.call('GET', KEYS[1])), tonumber(ARGV[1])
local crashes = 0
if claim then
  if claim.state == 'C' then return {'cancelled', 0} end
  if claim.state == 'E' or claim.attempt > attempt then return {'ended', 0} end
  if claim.attempt == attempt then
    if claim.state == 'W' then return {'ended', 0} end
    if claim.owner == ARGV[2] and claim.pid == ARGV[4] then
      crashes = claim.crashes -- a repeated call, because the answer got lost
    elseif claim.owner == ARGV[2] then
      return {'sibling', tonumber(claim.pid)}
    elseif redis.call('EXISTS', ARGV[6] .. claim.owner) == 1 then
      return {'taken', 0}
    else
      crashes = claim.crashes + 1
    end
  end
end
redis.call('SET', KEYS[1], write_claim('R', ARGV[1], ARGV[2], ARGV[3], ARGV[4], crashes), 'EX', ARGV[5])
return {'run', crashes}
