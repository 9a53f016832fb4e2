-- Claims a task for one delivery before its body runs.
-- KEYS: the claim. ARGV: attempt, instance, token, pid, seconds to keep, prefix of the keys of living instances, sorted set of
-- cancelled tasks or empty, the task's id.
-- Returns the verdict; the crashes, or the pid of a sibling; the milliseconds for which this instance's heartbeat lives, or the
-- holder's token.
local claim, attempt = read_claim(KEYS[1]), tonumber(ARGV[1])
local crashes = 0
if ARGV[7] ~= '' and redis.call('ZSCORE', ARGV[7], ARGV[8]) then return {'cancelled', 0} end
if claim then
  if claim.state == 'C' then return {'cancelled', 0} end
  if claim.state == 'E' or claim.attempt > attempt then return {'ended', 0} end
  if claim.attempt == attempt then
    if claim.state == 'W' then return {'ended', 0} end
    if claim.owner == ARGV[2] and claim.pid == ARGV[4] and claim.token == ARGV[3] then
      crashes = claim.crashes -- a repeated call, because the answer got lost
    elseif claim.owner == ARGV[2] then
      return {'sibling', tonumber(claim.pid), claim.token}
    elseif redis.call('EXISTS', ARGV[6] .. claim.owner) == 1 then
      return {'taken', 0, claim.token}
    else
      -- A claim without a process was given up without a crash.
      crashes = claim.crashes + (claim.pid == '0' and 0 or 1)
    end
  end
end
redis.call('SET', KEYS[1], write_claim('R', ARGV[1], ARGV[2], ARGV[3], ARGV[4], crashes), 'EX', ARGV[5])
return {'run', crashes, math.max(redis.call('PTTL', ARGV[6] .. ARGV[2]), 0)}
