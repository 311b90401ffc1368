-- Replace the record of a run, if the expected one is there.
-- KEYS: record.  ARGV: token expected ('' for none), new token, new record ('' deletes), life of the lease in ms (0 ends it).
-- Returns 1 if it was replaced.
if (redis.call('HGET', KEYS[1], 'token') or '') ~= ARGV[1] then return 0 end
if ARGV[3] == '' then redis.call('DEL', KEYS[1]) return 1 end
local now = redis.call('TIME')
local until_ms = 0
if ARGV[4] ~= '0' then until_ms = now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[4] end
redis.call('HSET', KEYS[1], 'token', ARGV[2], 'record', ARGV[3], 'until', string.format('%.0f', until_ms))
return 1
