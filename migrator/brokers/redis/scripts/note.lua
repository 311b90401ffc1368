-- Record in the ledger what the transaction that ends with this script has just pushed, or remove all of it again.
-- For messages that are not expected to be here already; where one is, push.lua checks them one by one.
-- KEYS: fence, ledger, then the list of each group.
-- ARGV: token, fence's life in ms, what to write into the ledger, number of groups, then for each group:
--       n, the last message that was pushed, n ledger entries.
-- Returns the ledger entries that were refused: none.
local groups = tonumber(ARGV[4])
local function there(key, message)
  return redis.call('TYPE', key)['ok'] == 'list' and redis.call('LINDEX', key, 0) == message
end
local function refuse(text)
  local at = 5
  for group = 1, groups do
    local key, n = KEYS[2 + group], tonumber(ARGV[at])
    if there(key, ARGV[at + 1]) then redis.call('LTRIM', key, n, -1) end
    at = at + 2 + n
  end
  return redis.error_reply(text)
end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return refuse('FENCED another run holds the lock') end
local function check(key, wanted)
  local found = redis.call('TYPE', key)['ok']
  if found ~= 'none' and found ~= wanted then return 'WRONGTYPE ' .. key .. ' is a ' .. found .. ', not a ' .. wanted end
end
local problem = check(KEYS[2], 'hash')
local at = 5
for group = 1, groups do
  local key, n = KEYS[2 + group], tonumber(ARGV[at])
  problem = problem or check(key, 'list')
  if not (problem or there(key, ARGV[at + 1])) then problem = 'ERR nothing was pushed to ' .. key end
  for i = at + 2, at + 1 + n, 500 do
    if problem then break end
    local found = redis.call('HMGET', KEYS[2], unpack(ARGV, i, math.min(i + 499, at + 1 + n)))
    for j = 1, #found do
      if found[j] then problem = 'CHANGED some of these messages have arrived before' end
    end
  end
  at = at + 2 + n
end
if problem then return refuse(problem) end
local added, wanted, pairs_of = 0, 0, {}
at = 5
for _ = 1, groups do
  local n = tonumber(ARGV[at])
  for first = at + 2, at + 1 + n, 500 do
    local size = math.min(500, at + 2 + n - first)
    for i = 0, size - 1 do
      pairs_of[2 * i + 1] = ARGV[first + i]
      pairs_of[2 * i + 2] = ARGV[3]
    end
    added = added + redis.call('HSET', KEYS[2], unpack(pairs_of, 1, 2 * size))
  end
  wanted = wanted + n
  at = at + 2 + n
end
if added ~= wanted then
  -- One entry occurs twice: none was in the ledger before, so deleting all of them leaves it as it was.
  at = 5
  for _ = 1, groups do
    local last = at + 1 + tonumber(ARGV[at])
    for i = at + 2, last, 500 do redis.call('HDEL', KEYS[2], unpack(ARGV, i, math.min(i + 499, last))) end
    at = last + 1
  end
  return refuse('CHANGED one message occurs twice')
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('INCR', 'tqm:steps')
return {}
