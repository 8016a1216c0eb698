-- Keeps leases of requests that still run. A lease that was settled, has lapsed or is lost is not brought back.
-- ARGV: lease (µs), then reservations. Returns those whose lease is no longer there.
local SAMPLE = 20
local length, missing = tonumber(ARGV[1]), {}
for index = 2, #ARGV do
    if redis.call('ZSCORE', LEASES, ARGV[index]) then
        redis.call('ZADD', LEASES, string.format('%.0f', now + length), ARGV[index])
    else
        table.insert(missing, ARGV[index])
    end
end
keep()
-- Keys and adapters that were not used for long go, a few at a time; what they had spent the ledger knows.
for _, name in ipairs(redis.call('HRANDFIELD', ACCOUNTS, SAMPLE)) do
    local account = cmsgpack.unpack(redis.call('HGET', ACCOUNTS, name))
    if account.n == 0 and now - account.a > KEPT * 1000 then redis.call('HDEL', ACCOUNTS, name) end
end
return missing
