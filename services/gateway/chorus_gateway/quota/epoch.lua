-- The epoch: new when the key is gone (FLUSHALL) or another run of a server holds it (a restart from an old file, a
-- replica that took over), in both of which counts may be lost.
-- KEYS: epoch. ARGV: a name for a new epoch.
-- Returns {epoch, its age in µs}.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local info = redis.pcall('INFO', 'server')
-- Where INFO is forbidden, emptying is noticed all the same.
local server = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or 'unknown'
local run, name, since = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) (%S+) (%S+)$')
if run ~= server then
    name, since = ARGV[1], now
    redis.call('SET', KEYS[1], string.format('%s %s %.0f', server, name, now))
end
return { name, string.format('%.0f', math.max(0, now - since)) }
