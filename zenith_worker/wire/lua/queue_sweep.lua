-- Takes messages from the end where workers take them, drops those of cancelled and ended tasks, and pushes the others at the
-- other end: after as many steps as there were messages, the order is the same as before. Returns how many were dropped.
-- KEYS: a list of messages. ARGV: how many, prefix of the claims.
local dropped = 0
for _ = 1, tonumber(ARGV[1]) do
  local message = redis.call('RPOP', KEYS[1])
  if not message then break end
  local readable, body = pcall(cjson.decode, message)
  local id = readable and type(body) == 'table' and type(body.headers) == 'table' and body.headers.id
  local claim = type(id) == 'string' and read_claim(ARGV[2] .. id)
  if claim and (claim.state == 'C' or claim.state == 'E') then
    dropped = dropped + 1
  else
    redis.call('LPUSH', KEYS[1], message)
  end
end
return dropped
