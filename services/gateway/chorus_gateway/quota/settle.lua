-- Frees the place in flight and gives back the tokens that were not used. Only the first call has an effect: it is the
-- one that still finds the lease.
-- KEYS: as reserve.lua
-- ARGV: reservation, tokens to give back (negative: to charge), tokens a minute (-1: no limit)
-- Returns 1 when it had an effect, else 0.
if redis.call('ZREM', KEYS[2], ARGV[1]) == 0 then return 0 end
local back, limit = tonumber(ARGV[2]), tonumber(ARGV[3])
local kept = redis.call('HGET', KEYS[1], 'tokens')
if limit > 0 and kept then
    local tokens = math.min(limit, tonumber(kept) + back)
    redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens))
    if tokens < 0 then redis.call('PEXPIRE', KEYS[1], math.ceil(120000 - tokens * 60000 / limit)) end
end
return 1
