-- Takes questions from the lists of applications, of each an equal share: none waits for another's flood.
-- KEYS: a list. ARGV: how many to take in all, but at least one of each list; how many may wait in a list; the longest question
-- in bytes; the other lists.
-- Returns the index of a list and the question from it, and so on. What is no list is removed: questions last for seconds, and
-- whoever wrote something else there must not keep the engine from waiting for the others.
local lists, lengths, active = {KEYS[1], unpack(ARGV, 4)}, {}, 0
local most, longest = tonumber(ARGV[2]), tonumber(ARGV[3])
for i, list in ipairs(lists) do
  local length = redis.pcall('LLEN', list)
  if type(length) ~= 'number' then
    redis.call('UNLINK', list)
    length = 0
  end
  lengths[i] = length
  if length > 0 then active = active + 1 end
end
local share, taken = math.max(1, math.floor(ARGV[1] / math.max(1, active))), {}
for i, list in ipairs(lists) do
  if lengths[i] > most then redis.call('LTRIM', list, -most, -1) end
  if lengths[i] > 0 then
    for _, question in ipairs(redis.call('LPOP', list, share)) do
      if #question <= longest then
        taken[#taken + 1] = i
        taken[#taken + 1] = question
      end
    end
  end
end
return taken
