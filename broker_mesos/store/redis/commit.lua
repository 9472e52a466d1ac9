-- One fenced step of a cell: all of its writes and outgoing messages, or nothing.
--
-- KEYS  1 lease       hash  term, nonce, owner, commit, commit_id, renewed_at (ms), run_id, recovering, recovered, recovery_term
--       2 agents      hash  agent id -> AgentRecord (JSON)
--       3 frameworks  hash  framework id -> FrameworkRecord (JSON)
--       4 tasks       hash  task id -> TaskRecord (JSON)
--       5 outbox      hash  number -> message that awaits the broker's confirm
-- ARGV  term, nonce, number, commit id; then for each of the keys 2 to 5:
--       d, d fields to delete, s, s pairs of field and value to set
-- Returns {"OK"}: applied; {"REPEAT"}: had been applied before; {"FENCED", term, owner}: another lease;
--       {"LOST", commit}: neither the next commit nor a repeat; {"TYPE", key, type}: not a hash.
--       Only OK has written anything.
local lease = redis.call('HMGET', KEYS[1], 'term', 'nonce', 'commit', 'commit_id', 'owner')
if lease[1] ~= ARGV[1] or lease[2] ~= ARGV[2] then
  return {'FENCED', lease[1] or '0', lease[5] or ''}
end
local stored, number = tonumber(lease[3] or '0'), tonumber(ARGV[3])
if stored == number and lease[4] == ARGV[4] then
  return {'REPEAT'}
end
if stored ~= number - 1 then
  return {'LOST', lease[3] or '0'}
end
-- A script that fails half-way is not rolled back: whatever can fail is checked before the first write.
for i = 2, 5 do
  local kind = redis.call('TYPE', KEYS[i]).ok
  if kind ~= 'hash' and kind ~= 'none' then
    return {'TYPE', KEYS[i], kind}
  end
end
-- The first write has to be one that Redis refuses when memory is full: later ones are not refused.
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'commit', ARGV[3], 'commit_id', ARGV[4],
  'renewed_at', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))

local CHUNK = 4000 -- Lua's stack holds about 8,000 values; even, so that pairs stay together
local function apply(verb, key, first, count)
  for from = first, first + count - 1, CHUNK do
    redis.call(verb, key, unpack(ARGV, from, math.min(from + CHUNK, first + count) - 1))
  end
  return first + count
end
local at = 5
for i = 2, 5 do
  at = apply('HDEL', KEYS[i], at + 1, tonumber(ARGV[at]))
  at = apply('HSET', KEYS[i], at + 1, 2 * tonumber(ARGV[at]))
end
return {'OK'}
