-- Whether an owner still has the message that it noted; a note without a message of its own is removed (held_messages.py).
-- `taken_at`: the time that kombu's record of the message must bear, as a number; empty for any.
local function still_owns(index, taken, tag, note, taken_at)
  if redis.call('HGET', taken, tag) ~= note then return false end
  if taken_at == '' then return true end
  local score = redis.call('ZSCORE', index, tag)
  if score and tonumber(score) == tonumber(taken_at) then return true end
  redis.call('HDEL', taken, tag)
  return false
end
