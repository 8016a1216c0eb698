-- Keeps leases of requests that still run. A lease that was settled, has lapsed or is lost is not brought back.
-- ARGV: lease (µs), then reservations. Returns those whose lease is no longer there.
local length, missing = tonumber(ARGV[1]), {}
for index = 2, #ARGV do
    if redis.call('ZSCORE', LEASES, ARGV[index]) then
        redis.call('ZADD', LEASES, string.format('%.0f', now + length), ARGV[index])
    else
        table.insert(missing, ARGV[index])
    end
end
keep()
return missing
