-- Put messages into queues of a server that does not hold the claim, each at most once.
-- The ledger entry and the message are written together, so a repeated call refuses what is already here.
-- KEYS: fence, ledger, then the keys that the groups name by number (from 1).
-- ARGV: token, fence's life in ms, what to write into the ledger, number of groups, then for each group:
--       'list', key number, 0, n, then n ledger entries, n messages;
--       'hash', list's number, bodies' number, n, then n ledger entries, n ids, n bodies;
--       'zset', key number, 0, n, then n ledger entries, n scores, n messages.
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
-- Writes entries, messages, and ids or scores number ``first`` to ``last``.
local function put(kind, key, bodies, at, n, first, last)
  local noted, pairs_of = {}, {}
  for i = first, last do
    noted[#noted + 1] = ARGV[at + i]
    noted[#noted + 1] = ARGV[3]
    if kind ~= 'list' then
      pairs_of[#pairs_of + 1] = ARGV[at + n + i]
      pairs_of[#pairs_of + 1] = ARGV[at + 2 * n + i]
    end
  end
  redis.call('HSET', KEYS[2], unpack(noted))
  if kind == 'list' then
    redis.call('LPUSH', key, unpack(ARGV, at + n + first, at + n + last))
  elseif kind == 'zset' then
    redis.call('ZADD', key, unpack(pairs_of))
  else
    redis.call('HSET', bodies, unpack(pairs_of))
    redis.call('RPUSH', key, unpack(ARGV, at + n + first, at + n + last))
  end
end
local refused = {}
at = 5
for _ = 1, tonumber(ARGV[4]) do
  local kind, key, n = ARGV[at], KEYS[2 + tonumber(ARGV[at + 1])], tonumber(ARGV[at + 3])
  local bodies = kind == 'hash' and KEYS[2 + tonumber(ARGV[at + 2])]
  local entries = at + 3
  for start = 1, n, 500 do
    local till = math.min(start + 499, n)
    local there = redis.call('HMGET', KEYS[2], unpack(ARGV, entries + start, entries + till))
    -- Usually all are new and are written in one step; a run of new ones ends at an entry that exists or occurs twice.
    local seen, first = {}, start
    for i = start, till do
      local entry = ARGV[entries + i]
      if there[i - start + 1] or seen[entry] then
        if first < i then put(kind, key, bodies, entries, n, first, i - 1) end
        refused[#refused + 1] = entry
        first = i + 1
      end
      seen[entry] = true
    end
    if first <= till then put(kind, key, bodies, entries, n, first, till) end
  end
  at = at + 4 + width[kind] * n
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('INCR', 'tqm:steps')
return refused
