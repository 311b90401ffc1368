-- Return unacknowledged Celery messages to that end of their queue that is served next.
-- KEYS: fence, unacked, index, then lists.  ARGV: token, fence's life in ms, then (tag, list number, message) each.
-- A tag that is gone was acknowledged or restored meanwhile and is skipped. Returns how many were returned.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('FENCED another run holds the lock') end
for i = 4, #KEYS do
  local found = redis.call('TYPE', KEYS[i])['ok']
  if found ~= 'none' and found ~= 'list' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end
local back = 0
for i = 3, #ARGV, 3 do
  if redis.call('HEXISTS', KEYS[2], ARGV[i]) == 1 then
    redis.call('RPUSH', KEYS[3 + tonumber(ARGV[i + 1])], ARGV[i + 2])
    redis.call('HDEL', KEYS[2], ARGV[i])
    redis.call('ZREM', KEYS[3], ARGV[i])
    back = back + 1
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('INCR', 'tqm:steps')
return back
