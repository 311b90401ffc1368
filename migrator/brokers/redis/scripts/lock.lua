-- Take the lock if it is free, already ours, or still held by the run that is known to have ended.
-- KEYS: lock.  ARGV: token, life in ms, token of the holder that has ended (or '').
-- Returns the token of the holder afterwards.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] and holder ~= ARGV[3] then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
