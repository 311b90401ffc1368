-- Return the messages of a stopped Dramatiq worker to the head of their queue.
-- KEYS: fence, acks, list, bodies, heartbeats.  ARGV: token, fence's life in ms, owner, heartbeat seen ('' if none).
-- Refuses if the owner has sent a heartbeat since. Returns how many were returned and how many had no body any more.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('FENCED another run holds the lock') end
local seen = redis.call('ZSCORE', KEYS[5], ARGV[3]) or ''
if seen ~= ARGV[4] then return redis.error_reply('ALIVE the owner has sent a heartbeat') end
local back, gone = {}, 0
for _, id in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  if redis.call('HEXISTS', KEYS[4], id) == 1 then back[#back + 1] = id else gone = gone + 1 end
end
local i = 1
while i <= #back do
  local last = math.min(i + 999, #back)
  redis.call('LPUSH', KEYS[3], unpack(back, i, last))
  i = last + 1
end
redis.call('DEL', KEYS[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('INCR', 'tqm:steps')
return {#back, gone}
