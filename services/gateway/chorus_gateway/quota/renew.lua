-- Keeps leases of requests that still run. A lease that was settled or has lapsed is not brought back.
-- KEYS: leases
-- ARGV: lease (µs), then the reservations
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local lease = tonumber(ARGV[1])
for index = 2, #ARGV do
    redis.call('ZADD', KEYS[1], 'XX', now + lease, ARGV[index])
end
redis.call('PEXPIRE', KEYS[1], math.ceil(lease / 1000) + 1000)
return redis.status_reply('OK')
