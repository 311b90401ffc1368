-- Take ids from the head of a Dramatiq queue into our claim, and return them with their bodies.
-- KEYS: fence, list, bodies, claim.  ARGV: token, fence's life in ms, how many, how many bytes.
-- Bodies stay where they are until they are moved: an interrupted claim describes completely what is left to do.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('FENCED another run holds the lock') end
local wanted, budget = tonumber(ARGV[3]), tonumber(ARGV[4])
local ids = redis.call('LRANGE', KEYS[2], 0, wanted - 1)
local taken, bodies, bytes = 0, {}, 0
while taken < #ids and bytes < budget do
  local last = math.min(taken + 25, #ids)
  local part = redis.call('HMGET', KEYS[3], unpack(ids, taken + 1, last))
  for i = 1, #part do
    bodies[taken + i] = part[i]
    if part[i] then bytes = bytes + #part[i] end
  end
  taken = last
end
local i = 1
while i <= taken do
  local last = math.min(i + 999, taken)
  redis.call('RPUSH', KEYS[4], unpack(ids, i, last))
  i = last + 1
end
if taken > 0 then redis.call('LTRIM', KEYS[2], taken, -1) end
while #ids > taken do table.remove(ids) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('INCR', 'tqm:steps')
return {ids, bodies}
