-- Put filtered-out messages back where they were, the last one first, so that their order is kept.
-- KEYS: fence, filtered-out list, list.  ARGV: token, fence's life in ms, how many, end of the list that is served.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('FENCED another run holds the lock') end
local moved = 0
while moved < tonumber(ARGV[3]) and redis.call('LMOVE', KEYS[2], KEYS[3], 'RIGHT', ARGV[4]) do moved = moved + 1 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('INCR', 'tqm:steps')
return moved
