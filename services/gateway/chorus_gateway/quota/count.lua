-- Sets a counter to what the ledger knows. What ends while the ledger is asked is counted beside it.
-- ARGV: "begin", subject, field (d, b), period, who, patience (µs), epoch: 1, 0 while somebody else counts, or 2 where
--       somebody else just has.
--       "end", subject, field, period, who, epoch, spent, number of the period asked for: 1, or 0 when the count does not
--       hold any more and must begin again.
local AGAIN = 900000000 -- by when all has ended that is in flight now
local name, field, period, who = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local account = load_account(name)
local counter = account[field]
if counter and counter.g == period then roll(counter) end

if ARGV[1] == 'begin' then
    if not counter or counter.g ~= period then
        counter = { g = period, i = number_of(period, now), h = 0 }
        account[field] = counter
    end
    if counter.w and counter.w ~= who and now - counter.c < tonumber(ARGV[6]) then return 0 end
    local doubted = counter.x or counter.y and now >= counter.y
    if counter.s and counter.e == ARGV[7] and not doubted then return 2 end
    counter.p, counter.c, counter.w = 0, now, who
    save(name, account)
    keep()
    return 1
end

if not counter or counter.g ~= period or counter.w ~= who or counter.i ~= tonumber(ARGV[8]) then return 0 end
if counter.y and counter.y <= counter.c then counter.y = nil end
-- A new limit: what is in flight of a subject that had none is held by nobody, and only the ledger will know it.
if not counter.s then counter.y = now + AGAIN end
counter.s, counter.e = tonumber(ARGV[7]) + counter.p, ARGV[6]
if counter.x and counter.x < counter.c then counter.x = nil end
counter.p, counter.c, counter.w = nil, nil, nil
save(name, account)
return 1
