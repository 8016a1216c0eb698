-- Ends a reservation with what was used. Only the first call finds its lease.
-- ARGV: reservation, tokens, cost, then the names of its subjects.
-- Returns 1 when it had an effect. A lease that has lapsed was counted in full or is lost: its counters are in doubt.
local packed = redis.call('ZSCORE', LEASES, ARGV[1]) and redis.call('HGET', RECORDS, ARGV[1])
if packed then
    release(cmsgpack.unpack(packed), tonumber(ARGV[2]), tonumber(ARGV[3]))
    forget(ARGV[1])
    return 1
end
for index = 4, #ARGV do
    local kept = redis.call('HGET', ACCOUNTS, ARGV[index])
    if kept then
        local account = unpack_account(kept)
        if account.d then account.d.x = now end
        if account.b then account.b.x = now end
        save(ARGV[index], account)
    end
end
return 0
