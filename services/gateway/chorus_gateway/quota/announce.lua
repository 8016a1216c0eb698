-- Tells of a request in flight whose lease was lost: it has its place again, and the counters hold what it may use. The
-- minute's buckets are left as they are, since it was let in before.
-- ARGV: reservation, when it was made (µs), tokens, cost, lease (µs), then for each bounded subject its name, whether it
-- has a limit of the day (1 or 0), and its budget's period ("" without one).
if redis.call('ZSCORE', LEASES, ARGV[1]) then return 0 end
local record = { at = tonumber(ARGV[2]), t = tonumber(ARGV[3]), c = tonumber(ARGV[4]), s = {} }

local function hold(account, field, period, amount)
    local counter = account[field]
    if not counter or counter.g ~= period then
        counter = { g = period, i = number_of(period, now), h = 0 }
        account[field] = counter
    end
    if number_of(period, record.at) ~= roll(counter).i then return false end
    counter.h = counter.h + amount
    return true
end

for index = 6, #ARGV, 3 do
    local account = load_account(ARGV[index])
    local each = { name = ARGV[index], z = account.z, q = account.q }
    account.n = account.n + 1
    if ARGV[index + 1] == '1' then each.d = hold(account, 'd', 'day', record.t) end
    if ARGV[index + 2] ~= '' then each.b = hold(account, 'b', ARGV[index + 2], record.c) end
    table.insert(record.s, each)
    save(ARGV[index], account)
end
lease(ARGV[1], record, tonumber(ARGV[5]))
keep()
return 1
