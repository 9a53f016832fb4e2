-- The value of a claim (claims.py): state|run|instance|delivery tag|pid|crashes.
-- The run is RunNumber.number (runs.py), called `attempt` below: for a task that never replaced itself it is the attempt.
-- state: R running, W waiting for its next attempt, E ended, C cancelled. Loaded before the scripts that read claims.
local function read_claim(value)
  if not value then return nil end
  local state, attempt, owner, tag, pid, crashes = string.match(value, '^(%a)|(%d+)|([^|]*)|([^|]*)|(%d+)|(%d+)$')
  return {state = state, attempt = tonumber(attempt), owner = owner, tag = tag, pid = pid, crashes = tonumber(crashes)}
end

local function write_claim(state, attempt, owner, tag, pid, crashes)
  return table.concat({state, attempt, owner or '', tag or '', pid or 0, crashes or 0}, '|')
end

-- Whether a claim says that nothing is left to run of this attempt's message.
local function is_over(claim, attempt)
  if not claim or claim.state == 'C' then return false end -- a cancelled task's message is refused, which is reported
  attempt = tonumber(attempt)
  return claim.state == 'E' or claim.attempt > attempt or (claim.attempt == attempt and claim.state == 'W')
end
