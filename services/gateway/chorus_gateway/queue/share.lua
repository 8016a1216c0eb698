-- One worker's batch of one band: what it served is added to the counters of all workers, and read back.
-- KEYS: counters (zset: tenant -> counter), workers (hash: worker -> "batch at lowest", and "served")
-- ARGV: worker, number of the batch (the same again when it was not answered), lowest counter that waits at the worker
--       or "" (those that return now left out), counter of the tenant that it served last, ms for which a worker's lowest is true, ms that keys last,
--       then for each tenant: name, delta, known, 0 or, if it returned, 1 or, if it still waits, 2
-- Returns {lowest that waits at other workers or "", served, counter...}; as strings, since Redis cuts off fractions.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local worker, batch, mine = ARGV[1], ARGV[2], tonumber(ARGV[3])
local served, valid, lasting = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local lowest, fresh = nil, true

local fields = redis.call('HGETALL', KEYS[2])
for i = 1, #fields, 2 do
    local name, value = fields[i], fields[i + 1]
    if name == 'served' then
        served = math.max(served, tonumber(value))
    else
        local last, at, low = value:match('^(%S+) (%S+) (%S*)$')
        if name == worker then
            fresh = last ~= batch
        elseif now - tonumber(at) > lasting then
            redis.call('HDEL', KEYS[2], name)
        elseif low ~= '' and now - tonumber(at) <= valid then
            low = tonumber(low)
            if lowest == nil or low < lowest then lowest = low end
        end
    end
end

local floor = mine
if floor == nil or (lowest ~= nil and lowest < floor) then floor = lowest end
if floor == nil then floor = served end
floor = floor - 1 -- who returns goes before the one that it is level with

local answer = { lowest and string.format('%.17g', lowest) or '', string.format('%.17g', served) }
for i = 7, #ARGV, 4 do
    local tenant, delta, known = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
    -- A counter that Redis lost is known by the workers; one that it has is never below what they know.
    local counter = math.max(tonumber(redis.call('ZSCORE', KEYS[1], tenant) or known), known)
    if fresh then counter = counter + delta end
    if ARGV[i + 3] ~= '0' then counter = math.max(counter, floor) end
    if ARGV[i + 3] == '2' and (mine == nil or counter < mine) then mine = counter end
    redis.call('ZADD', KEYS[1], string.format('%.17g', counter), tenant)
    answer[#answer + 1] = string.format('%.17g', counter)
end

-- A counter below all that wait is lifted when its tenant returns: it says nothing.
if redis.call('ZCARD', KEYS[1]) > 10000 then
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.17g', floor))
end
redis.call('HSET', KEYS[2], 'served', string.format('%.17g', served),
    worker, batch .. ' ' .. now .. ' ' .. (mine and string.format('%.17g', mine) or ''))
redis.call('PEXPIRE', KEYS[1], lasting)
redis.call('PEXPIRE', KEYS[2], lasting)
return answer
