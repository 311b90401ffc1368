-- Extend the lock if it is still ours.  KEYS: lock.  ARGV: token, life in ms.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('FENCED another run holds the lock') end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
