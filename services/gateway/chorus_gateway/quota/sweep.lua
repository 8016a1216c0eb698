-- Lets leases lapse whose time is over. Returns how many are left.
local left
repeat
    left = redis.call('ZCOUNT', LEASES, '-inf', now)
    lapse()
until left == 0
return redis.call('ZCARD', LEASES)
