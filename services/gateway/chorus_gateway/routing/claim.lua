-- Who loads an adapter that no engine has: the first to ask decides, for as long as its choice can be sent requests.
-- KEYS: the adapter's claim
-- ARGV: lease (ms), the engine that the caller would choose, then every engine that the caller can send requests to
-- Returns {1 when it was taken now, else 0; the engine that loads it; ms that this holds}
local holder = redis.call('GET', KEYS[1])
if holder then
    for index = 2, #ARGV do
        if ARGV[index] == holder then return { 0, holder, redis.call('PTTL', KEYS[1]) } end
    end
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[1])
return { 1, ARGV[2], tonumber(ARGV[1]) }
