-- The epoch: new when the key is gone (FLUSHALL) or another run of a server holds it (a restart from an old file, a
-- replica that took over), in both of which counts may be lost.
-- KEYS: epoch. ARGV: the server's run id, a name for a new epoch.
-- Returns {epoch, its age in µs}.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local run, name, since = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) (%S+) (%S+)$')
if run ~= ARGV[1] then
    name, since = ARGV[2], now
    redis.call('SET', KEYS[1], string.format('%s %s %.0f', ARGV[1], name, now))
end
return { name, string.format('%.0f', math.max(0, now - since)) }
