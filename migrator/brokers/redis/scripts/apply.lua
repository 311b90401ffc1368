-- Apply one batch on the server that holds the claim, and remove it from the claim: all or nothing.
-- KEYS: fence, claim, then the keys that the operations name by number (from 1).
-- ARGV: token, fence's life in ms, expected length of the claim, how many entries leave it, number of operations,
--       then for each operation: command, key number, type that the key must have, number of arguments, arguments;
--       the number may be 'claimed': the arguments are the entries that leave the claim.
--       'pushed' is not a Redis command: the transaction that ends with this script has just pushed messages to that
--       list; arguments: how many, and the last one.
-- Redis does not roll back: everything that can fail is checked before the first write, and copies are written before
-- anything is deleted (the caller orders the operations so). A refusal removes what was pushed.
local operations = tonumber(ARGV[5])
local function there(key, message)
  return redis.call('TYPE', key)['ok'] == 'list' and redis.call('LINDEX', key, 0) == message
end
local function refuse(text)
  local at = 6
  for _ = 1, operations do
    local key = KEYS[2 + tonumber(ARGV[at + 1])]
    if ARGV[at] == 'pushed' and there(key, ARGV[at + 5]) then redis.call('LTRIM', key, ARGV[at + 4], -1) end
    at = at + 4 + (tonumber(ARGV[at + 3]) or 0)
  end
  return redis.error_reply(text)
end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return refuse('FENCED another run holds the lock') end
if redis.call('LLEN', KEYS[2]) ~= tonumber(ARGV[3]) then return refuse('CHANGED the claim is not what it was') end
local at = 6
for _ = 1, operations do
  local key, wanted = KEYS[2 + tonumber(ARGV[at + 1])], ARGV[at + 2]
  local found = redis.call('TYPE', key)['ok']
  if found ~= 'none' and found ~= wanted then
    return refuse('WRONGTYPE ' .. key .. ' is a ' .. found .. ', not a ' .. wanted)
  end
  if ARGV[at] == 'pushed' and not there(key, ARGV[at + 5]) then return refuse('ERR nothing was pushed to ' .. key) end
  at = at + 4 + (tonumber(ARGV[at + 3]) or 0)
end
local changed = {}
at = 6
for op = 1, operations do
  local command, key, count = ARGV[at], KEYS[2 + tonumber(ARGV[at + 1])], tonumber(ARGV[at + 3])
  local from, i, sum = ARGV, at + 4, 0
  local last = at + 3 + (count or 0)
  at = last + 1
  if not count then
    from = redis.call('LRANGE', KEYS[2], 0, ARGV[4] - 1)
    i, last = 1, #from
  elseif command == 'pushed' then
    sum, i = tonumber(ARGV[i]), last + 1
  end
  while i <= last do
    local till = math.min(i + 999, last)
    sum = sum + redis.call(command, key, unpack(from, i, till))
    i = till + 1
  end
  changed[op] = sum
end
if tonumber(ARGV[4]) > 0 then redis.call('LTRIM', KEYS[2], ARGV[4], -1) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('INCR', 'tqm:steps')
return changed
