-- Put messages into queues of a server that does not hold the claim, each at most once.
-- The ledger entry and the message are written together, so a repeated call refuses what is already here.
-- KEYS: fence, ledger, then the keys that the groups name by number (from 1).
-- ARGV: token, fence's life in ms, what to write into the ledger, number of groups, then for each group:
--       'list', key number, 0, n, then n times (ledger entry, message);
--       'hash', list's number, bodies' number, n, then n times (ledger entry, id, body);
--       'zset', key number, 0, n, then n times (ledger entry, score, message).
-- Returns the ledger entries that were refused.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('FENCED another run holds the lock') end
local function check(key, wanted)
  local found = redis.call('TYPE', key)['ok']
  if found ~= 'none' and found ~= wanted then return 'WRONGTYPE ' .. key .. ' is a ' .. found .. ', not a ' .. wanted end
end
local width = {list = 2, hash = 3, zset = 3}
local problem = check(KEYS[2], 'hash')
local at = 5
for _ = 1, tonumber(ARGV[4]) do
  local kind = ARGV[at]
  problem = problem or check(KEYS[2 + tonumber(ARGV[at + 1])], kind == 'zset' and 'zset' or 'list')
  if kind == 'hash' then problem = problem or check(KEYS[2 + tonumber(ARGV[at + 2])], 'hash') end
  at = at + 4 + width[kind] * tonumber(ARGV[at + 3])
end
if problem then return redis.error_reply(problem) end
local refused = {}
at = 5
for _ = 1, tonumber(ARGV[4]) do
  local kind, key, n = ARGV[at], KEYS[2 + tonumber(ARGV[at + 1])], tonumber(ARGV[at + 3])
  local bodies = kind == 'hash' and KEYS[2 + tonumber(ARGV[at + 2])]
  local i = at + 4
  for _ = 1, n do
    if redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[3]) == 0 then
      refused[#refused + 1] = ARGV[i]
    elseif kind == 'list' then
      redis.call('LPUSH', key, ARGV[i + 1])
    elseif kind == 'zset' then
      redis.call('ZADD', key, ARGV[i + 1], ARGV[i + 2])
    else
      redis.call('HSET', bodies, ARGV[i + 1], ARGV[i + 2])
      redis.call('RPUSH', key, ARGV[i + 1])
    end
    i = i + width[kind]
  end
  at = i
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return refused
