-- What all of the quota's scripts know: the accounts of a tenant's subjects and the leases of its requests.
-- KEYS: accounts (hash: subject -> account), leases (sorted set: reservation -> end, µs), records (hash: reservation ->
-- what it took). The Python of the same rules, with the reasons, is quota/account.py.
local ACCOUNTS, LEASES, RECORDS = KEYS[1], KEYS[2], KEYS[3]
local WINDOW, DIPS, LAPSES, KEPT = 60000000, 8, 16, 3600000
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

-- Day or month of UTC, numbered; months by Howard Hinnant's civil_from_days.
local function number_of(period, at)
    local day = math.floor(at / 86400000000)
    if period == 'total' then return 0 end
    if period == 'day' then return day end
    local z = day + 719468
    local era = math.floor(z / 146097)
    local doe = z - era * 146097
    local yoe = math.floor(
        (doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
    local mp = math.floor((5 * (doe - 365 * yoe - math.floor(yoe / 4) + math.floor(yoe / 100)) + 2) / 153)
    local year = yoe + era * 400
    return mp < 10 and year * 12 + mp + 2 or (year + 1) * 12 + mp - 10
end

-- An account: z when it was made, a when its backlogs were true, r and k backlogs (µs) of requests and tokens, n leases,
-- q arrivals, l dips, d and b counters of the day and the budget.
-- A counter: g period, i its number, s spent (nil: not known), h held by leases, e epoch, x when it came into doubt,
-- y when the ledger is to be asked once more, p spent since its count began at c, by w.
local function unpack_account(packed)
    local account = packed and cmsgpack.unpack(packed) or { z = now, a = now, n = 0, q = 0 }
    local passed = math.max(0, now - account.a)
    if account.r then account.r = math.max(0, account.r - passed) end
    if account.k then account.k = math.max(0, account.k - passed) end
    account.a = math.max(now, account.a)
    return account
end

local function save(name, account) redis.call('HSET', ACCOUNTS, name, cmsgpack.pack(account)) end

local function load_account(name) return unpack_account(redis.call('HGET', ACCOUNTS, name)) end

-- The counter, brought to the period that holds now: a later period begins at nothing.
local function roll(counter)
    local number = number_of(counter.g, now)
    if number > counter.i then
        counter.i, counter.h = number, 0
        if counter.s then counter.s = 0 end
        counter.p, counter.c, counter.w, counter.x, counter.y = nil, nil, nil, nil, nil
    end
    return counter
end

-- Remembers that arrival q found a backlog of w. Kept are the minima of all that came later, at most DIPS.
local function dip(account, q, w)
    local dips = account.l or {}
    while #dips > 0 and dips[#dips][2] >= w do table.remove(dips) end
    table.insert(dips, { q, w })
    if #dips > DIPS then
        local least, at = math.huge, 1
        for index = 1, #dips - 1 do
            local loss = (dips[index + 1][2] - dips[index][2]) / (dips[index][2] + 1)
            if loss <= least then least, at = loss, index end
        end
        dips[at + 1][2] = dips[at][2]
        table.remove(dips, at)
    end
    account.l = dips
end

-- Gives back to the tokens' bucket what arrival q took too much, as far as time has not given it back since.
local function refund(account, q, back)
    if not account.k then return end
    if back < 0 then
        account.k = account.k - back
        return
    end
    local dips = account.l or {}
    local least = account.k
    for _, each in ipairs(dips) do
        if each[1] > q then
            least = math.min(least, each[2])
            break
        end
    end
    back = math.min(back, least)
    account.k = account.k - back
    local kept = {}
    for _, each in ipairs(dips) do
        if each[1] > q then
            each[2] = each[2] - back
            while #kept > 0 and kept[#kept][2] >= each[2] do table.remove(kept) end
        end
        table.insert(kept, each)
    end
    account.l = kept
end

-- A reservation's end as a counter sees it. used nil: nobody said, so all of it counts until the ledger has been asked.
local function close_counter(counter, held, used, taken_at)
    if not counter or number_of(counter.g, taken_at) ~= roll(counter).i then return end
    counter.h = math.max(0, counter.h - held)
    if counter.s then counter.s = counter.s + used end
    if counter.p then counter.p = counter.p + used end
end

-- A record: at, t tokens, c cost, s of each subject: name, z, q, m µs a token, d and b whether the counters hold it.
local function release(record, tokens, cost)
    for _, each in ipairs(record.s) do
        local packed = redis.call('HGET', ACCOUNTS, each.name)
        if packed then
            local account = unpack_account(packed)
            local ours = account.z == each.z
            if ours then
                account.n = math.max(0, account.n - 1)
                if each.m and tokens then refund(account, each.q, (record.t - tokens) * each.m) end
            end
            close_counter(account.d, ours and each.d and record.t or 0, tokens or record.t, record.at)
            close_counter(account.b, ours and each.b and record.c or 0, cost or record.c, record.at)
            if not tokens then
                if account.d then account.d.x = now end
                if account.b then account.b.x = now end
            end
            save(each.name, account)
        end
    end
end

local function forget(reservation)
    redis.call('ZREM', LEASES, reservation)
    redis.call('HDEL', RECORDS, reservation)
end

-- Leases that nobody renewed end, a few at a time.
local function lapse()
    for _, reservation in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, LAPSES)) do
        local packed = redis.call('HGET', RECORDS, reservation)
        if packed then release(cmsgpack.unpack(packed), nil, nil) end
        forget(reservation)
    end
end

local function lease(reservation, record, length)
    redis.call('ZADD', LEASES, string.format('%.0f', now + length), reservation)
    redis.call('HSET', RECORDS, reservation, cmsgpack.pack(record))
end

local function keep()
    redis.call('PEXPIRE', ACCOUNTS, KEPT)
    redis.call('PEXPIRE', LEASES, KEPT)
    redis.call('PEXPIRE', RECORDS, KEPT)
end
