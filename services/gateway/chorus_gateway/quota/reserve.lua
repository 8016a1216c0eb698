-- Everything that a request may use, of all its subjects: all is taken, or nothing.
-- ARGV: reservation, tokens, cost, lease (µs), epoch, then for each subject its name and its limits: requests a minute,
-- tokens a minute, requests in flight, tokens a day, budget (each -1: none) and the budget's period; "" without any.
-- Returns one line. "? <n><d|b> …": counters (of the nth bounded subject) that must be counted first. Else "<1: granted>
-- <now, µs>" and for each bounded subject: in flight, backlogs of requests and tokens (µs), spent and held of the day, of
-- the budget, and which counters are in doubt (1 the day's, 2 the budget's).
local EPSILON, DOUBT = 0.001, 1000000
local tokens, cost, epoch = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[5]
lapse()

local names, limits, unbounded = {}, {}, {}
for index = 6, #ARGV, 2 do
    if ARGV[index + 1] == '' then
        table.insert(unbounded, ARGV[index])
    else
        table.insert(names, ARGV[index])
        table.insert(limits, ARGV[index + 1])
    end
end
-- What nobody bounds is not counted, so a limit that is set later must not find an old count.
if #unbounded > 0 then redis.call('HDEL', ACCOUNTS, unpack(unbounded)) end
local packed = #names > 0 and redis.call('HMGET', ACCOUNTS, unpack(names)) or {}

local granted, unknown, accounts, charges = true, {}, {}, {}

local function check_bucket(account, field, most, wanted)
    most = tonumber(most)
    account[field] = most >= 0 and (account[field] or 0) or nil
    if most < 0 then return nil end
    local each = WINDOW / most
    granted = granted and account[field] + wanted * each <= WINDOW + EPSILON
    return each
end

local function check_counter(index, field, most, period, wanted)
    local account = accounts[index]
    most = tonumber(most)
    if most < 0 then
        account[field] = nil
        return
    end
    local counter = account[field]
    if counter and counter.g == period then roll(counter) end
    if not counter or counter.g ~= period or not counter.s or counter.e ~= epoch then
        table.insert(unknown, index .. field)
        return
    end
    granted = granted and counter.s + counter.h + wanted <= most
end

for index, name in ipairs(names) do
    local account = unpack_account(packed[index])
    accounts[index] = account
    local requests, minute, places, day, budget, period =
        string.match(limits[index], '(%S+) (%S+) (%S+) (%S+) (%S+) (%S+)')
    local charge = { r = check_bucket(account, 'r', requests, 1), k = check_bucket(account, 'k', minute, tokens) }
    charges[index] = charge
    places = tonumber(places)
    granted = granted and (places < 0 or account.n < places)
    check_counter(index, 'd', day, 'day', tokens)
    check_counter(index, 'b', budget, period, cost)
end
if #unknown > 0 then return '? ' .. table.concat(unknown, ' ') end

if granted and #names > 0 then
    local record, saved = { at = now, t = tokens, c = cost, s = {} }, {}
    for index, name in ipairs(names) do
        local account, charge = accounts[index], charges[index]
        account.n, account.q = account.n + 1, account.q + 1
        if charge.r then account.r = account.r + charge.r end
        if charge.k then
            dip(account, account.q, account.k)
            account.k = account.k + tokens * charge.k
        end
        if account.d then account.d.h = account.d.h + tokens end
        if account.b then account.b.h = account.b.h + cost end
        record.s[index] = {
            name = name, z = account.z, q = account.q, m = charge.k, d = account.d and true, b = account.b and true,
        }
        table.insert(saved, name)
        table.insert(saved, cmsgpack.pack(account))
    end
    redis.call('HSET', ACCOUNTS, unpack(saved))
    lease(ARGV[1], record, tonumber(ARGV[4]))
    keep()
end

local function shown(counter)
    if not counter then return '0 0' end
    return string.format('%.0f %.0f', counter.s, counter.h)
end

local function doubted(counter, bit)
    local again = counter and (counter.x and now - counter.x >= DOUBT or counter.y and now >= counter.y)
    return again and bit or 0
end

local lines = { string.format('%d %.0f', granted and 1 or 0, now) }
for _, account in ipairs(accounts) do
    local buckets = string.format('%d %.3f %.3f', account.n, account.r or 0, account.k or 0)
    local doubt = doubted(account.d, 1) + doubted(account.b, 2)
    table.insert(lines, buckets .. ' ' .. shown(account.d) .. ' ' .. shown(account.b) .. ' ' .. doubt)
end
return table.concat(lines, ' ')
