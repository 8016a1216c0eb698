-- One request, its tokens and one place in flight: all are taken, or none.
-- KEYS: account (hash: at, requests, tokens), leases (zset: reservation -> end)
-- ARGV: reservation, tokens, requests a minute, tokens a minute, requests in flight (each -1: no limit), lease (µs)
-- Returns {1 granted or 0, requests left, tokens left, in flight}; levels as strings, since Redis cuts off fractions.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local window = 60000000
local wanted = { requests = 1, tokens = tonumber(ARGV[2]) }
local limit = { requests = tonumber(ARGV[3]), tokens = tonumber(ARGV[4]) }
local places, lease = tonumber(ARGV[5]), tonumber(ARGV[6])

redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local running = redis.call('ZCARD', KEYS[2])
local granted = places < 0 or running < places

local at = tonumber(redis.call('HGET', KEYS[1], 'at') or now)
local passed = math.max(0, now - at)
local level = { requests = 0, tokens = 0 }
for name, most in pairs(limit) do
    if most >= 0 then
        local kept = tonumber(redis.call('HGET', KEYS[1], name) or most)
        level[name] = math.min(most, kept + passed * most / window)
        granted = granted and level[name] >= wanted[name]
    end
end

if granted then
    redis.call('HSET', KEYS[1], 'at', string.format('%.0f', math.max(now, at)))
    for name, most in pairs(limit) do
        if most >= 0 then
            level[name] = level[name] - wanted[name]
            redis.call('HSET', KEYS[1], name, string.format('%.6f', level[name]))
        else
            redis.call('HDEL', KEYS[1], name)
        end
    end
    -- A bucket that is full again may be forgotten. A debt that settle.lua left keeps the account for longer.
    if redis.call('PTTL', KEYS[1]) < 120000 then redis.call('PEXPIRE', KEYS[1], 120000) end
    redis.call('ZADD', KEYS[2], now + lease, ARGV[1])
    redis.call('PEXPIRE', KEYS[2], math.ceil(lease / 1000) + 1000)
    running = running + 1
end
return { granted and 1 or 0, string.format('%.6f', level.requests), string.format('%.6f', level.tokens), running }
