-- Returns 1 if an outcome of this delivery would count now. KEYS: the claim. ARGV: attempt, instance, token.
return counts(read_claim(KEYS[1]), tonumber(ARGV[1]), ARGV[2], ARGV[3]) and 1 or 0
