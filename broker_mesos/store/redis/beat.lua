-- Renews a master for its time to live, and removes masters that have expired.
--
-- KEYS  1 masters  hash  master id -> "<beat ms> <expiry ms> <json>"
--       2 cells    hash  count
--       3 usage    hash  cell -> what it has published
-- ARGV  master id, time to live (ms), json, number of cells ("0": not known here)
--
-- Returns the time (ms) and both hashes, masters and usage, as they are now.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %.0f %s', now, now + tonumber(ARGV[2]), ARGV[3]))
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local at, expiry = string.match(all[i + 1], '^(%d+) (%d+) ')
  -- One of the future is from before this server's clock was set back; a living master is back with its next beat.
  if not expiry or tonumber(expiry) <= now or tonumber(at) > now then
    redis.call('HDEL', KEYS[1], all[i])
  end
end
-- A server that was wiped under running masters gets their number of cells again.
if ARGV[4] ~= '0' then
  redis.call('HSETNX', KEYS[2], 'count', ARGV[4])
end
return {string.format('%.0f', now), redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[3])}
