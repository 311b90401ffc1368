-- Take messages from the tail of a Celery queue (the end that is served) into our claim, next one first.
-- KEYS: fence, list, claim.  ARGV: token, fence's life in ms, how many, how many bytes.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('FENCED another run holds the lock') end
local wanted, budget = tonumber(ARGV[3]), tonumber(ARGV[4])
local taken, count, bytes = {}, 0, 0
while count < wanted and bytes < budget do
  local n = math.min(25, wanted - count)
  local part = redis.call('LRANGE', KEYS[2], -(count + n), -(count + 1))
  for i = #part, 1, -1 do
    count = count + 1
    taken[count] = part[i]
    bytes = bytes + #part[i]
  end
  if #part < n then break end
end
local i = 1
while i <= count do
  local last = math.min(i + 999, count)
  redis.call('RPUSH', KEYS[3], unpack(taken, i, last))
  i = last + 1
end
if count > 0 then redis.call('LTRIM', KEYS[2], 0, -(count + 1)) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('INCR', 'tqm:steps')
return taken
