-- Take the lock if it is free, ours already, or still held by the one we were told has ended.
-- KEYS: lock.  ARGV: token, life in ms, token of the holder that has ended (or '').
-- Returns the token of whoever holds it afterwards.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] and holder ~= ARGV[3] then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
