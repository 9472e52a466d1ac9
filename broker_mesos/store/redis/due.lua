-- The members of a sorted set of times that are due by the server's clock, and those that are impossibly late.
--
-- KEYS  1 a sorted set  member -> time (s)
-- ARGV  maximum number of members to return; seconds after now beyond which a time counts as due, since no caller sets such a time
-- Returns member, score, member, score, ...; the lowest first, those beyond the horizon last.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.6f', now), 'WITHSCORES',
  'LIMIT', 0, ARGV[1])
local left = tonumber(ARGV[1]) - #found / 2
if left > 0 then
  local beyond = redis.call('ZRANGEBYSCORE', KEYS[1], string.format('(%.6f', now + ARGV[2]), '+inf', 'WITHSCORES',
    'LIMIT', 0, left)
  for i = 1, #beyond do
    found[#found + 1] = beyond[i]
  end
end
return found
