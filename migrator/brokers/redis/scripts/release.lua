-- Put parked messages into their queues, each once.
-- KEYS: parked, then lists.  ARGV: (message, list number) each. Returns how many were released.
for i = 2, #KEYS do
  local found = redis.call('TYPE', KEYS[i])['ok']
  if found ~= 'none' and found ~= 'list' then return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found) end
end
local released = 0
for i = 1, #ARGV, 2 do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    redis.call('LPUSH', KEYS[1 + tonumber(ARGV[i + 1])], ARGV[i])
    redis.call('ZREM', KEYS[1], ARGV[i])
    released = released + 1
  end
end
return released
