-- The value of a claim (claims.py): state|run|instance|token of the delivery|pid|crashes.
-- The run is RunNumber.number (runs.py), called `attempt` below: for a task that never replaced itself it is the attempt.
-- state: R running, W waiting for its next attempt, E ended, C cancelled. Loaded before the scripts that read claims.
-- What is no claim, whoever wrote it, counts as none, and is overwritten: an error would repeat at each attempt.
local function read_claim(key)
  local value = redis.pcall('GET', key)
  if type(value) ~= 'string' then return nil end
  local state, attempt, owner, token, pid, crashes = string.match(value, '^(%a)|(%d+)|([^|]*)|([^|]*)|(%d+)|(%d+)$')
  if not state then return nil end
  return {state = state, attempt = tonumber(attempt), owner = owner, token = token, pid = pid, crashes = tonumber(crashes)}
end

local function write_claim(state, attempt, owner, token, pid, crashes)
  return table.concat({state, attempt, owner or '', token or '', pid or 0, crashes or 0}, '|')
end

-- Whether a claim says that nothing is left to run of this attempt's message.
local function is_over(claim, attempt)
  if not claim or claim.state == 'C' then return false end -- a cancelled task's message is refused, which is reported
  attempt = tonumber(attempt)
  return claim.state == 'E' or claim.attempt > attempt or (claim.attempt == attempt and claim.state == 'W')
end

-- Whether an outcome of this attempt counts that the given delivery reports.
local function counts(claim, attempt, owner, token)
  if not claim then return true end
  if claim.state == 'R' and claim.attempt == attempt and (claim.owner ~= owner or claim.token ~= token) then return false end
  return claim.state ~= 'E'
end
