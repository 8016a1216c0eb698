-- Lets leases lapse whose time is over, and tells what is outstanding.
-- Returns {leases, records of leases, and of all accounts: in flight, tokens and cost held in the periods that hold now}.
local over
repeat
    over = redis.call('ZCOUNT', LEASES, '-inf', now)
    lapse()
until over == 0
local running, tokens, cost = 0, 0, 0
local accounts = redis.call('HGETALL', ACCOUNTS)
for index = 2, #accounts, 2 do
    local account = unpack_account(accounts[index])
    running = running + account.n
    tokens = tokens + (account.d and roll(account.d).h or 0)
    cost = cost + (account.b and roll(account.b).h or 0)
end
return { redis.call('ZCARD', LEASES), redis.call('HLEN', RECORDS), running, tokens, cost }
