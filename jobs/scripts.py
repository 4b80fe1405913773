"""The Lua scripts that change a job's record. Each is atomic: no reader sees half of a change.

Scripts with _FENCED write only for the attempt that the record names, and only while the job runs: a worker that was
presumed dead cannot overwrite its successor, and nothing follows a terminal event. They return 1 if they wrote.
"""

from __future__ import annotations

from jobs import keys
from jobs.work import CONSTANT_FIELDS, PROGRESS_FIELDS

_FENCED = """
local current = redis.call('HMGET', KEYS[1], 'attempt', 'status')
if current[2] ~= 'running' or current[1] ~= ARGV[1] then return 0 end
"""
# Appends an event and announces it. The job's id is the script's last argument.
_EMIT = """
local function emit(type, data)
  redis.call('XADD', KEYS[2], '*', 'type', type, 'data', data)
  redis.call('PUBLISH', NEWS, ARGV[#ARGV])
end
""".replace("NEWS", repr(keys.NEWS))
# Measures a job's memory in Redis and corrects the total of all jobs by the difference.
_WEIGH = (
    """
local function weigh(id)
  local bytes = 0
  for _, prefix in ipairs({JOB, EVENTS, IMAGES, STATE}) do
    bytes = bytes + (redis.call('MEMORY', 'USAGE', prefix .. id) or 0)
  end
  local before = tonumber(redis.call('HGET', JOB .. id, 'bytes') or 0)
  redis.call('HSET', JOB .. id, 'bytes', bytes)
  redis.call('INCRBY', TOTAL, bytes - before)
end
""".replace("JOB", repr(keys.job("")))
    .replace("EVENTS", repr(keys.events("")))
    .replace("IMAGES", repr(keys.images("")))
    .replace("STATE", repr(keys.state("")))
    .replace("TOTAL", repr(keys.BYTES))
)

WEIGH = _WEIGH + "weigh(ARGV[1])"

# All images of a job are of one build: an attempt on another build starts the job anew. A record without the field
# `build`, which an earlier version began, counts as begun on another build.
BEGIN = (
    _EMIT
    + _WEIGH
    + """
local current = redis.call('HMGET', KEYS[1], 'status', 'attempt', 'build')
if current[1] ~= 'queued' and current[1] ~= 'running' then return {0, 0, ''} end
if current[1] == 'running' then redis.call('HINCRBY', KEYS[1], 'crashes', 1) end
local replaced = ''
if ARGV[2] ~= '' and current[3] ~= ARGV[2] then
  redis.call('HSET', KEYS[1], 'build', ARGV[2])
  if current[2] then
    replaced = current[3] or 'unknown'
    redis.call('DEL', KEYS[4], KEYS[5])
    redis.call('HDEL', KEYS[1], 'steps_done', 'images_done')
  end
end
local attempt = redis.call('HINCRBY', KEYS[1], 'attempt', 1)
redis.call('HSET', KEYS[1], 'status', 'running')
redis.call('ZREM', KEYS[3], ARGV[#ARGV])
redis.call('HSETNX', KEYS[1], 'started_at', ARGV[1])
emit('started', '{"attempt":' .. attempt .. '}')
weigh(ARGV[#ARGV])
return {attempt, tonumber(redis.call('HGET', KEYS[1], 'crashes') or 0), replaced}
"""
)
# Watchers never see an image go back: a later attempt emits only frames of steps that earlier attempts did not reach,
# however it splits the job into waves.
FRAME = (
    _EMIT
    + _WEIGH
    + _FENCED
    + """
local first, count, step = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local shown = {}
for position = first, first + count - 1 do shown[#shown + 1] = 'shown:' .. position end
for _, at in ipairs(redis.call('HMGET', KEYS[1], unpack(shown))) do
  if at and tonumber(at) >= step then return 1 end
end
for _, position in ipairs(shown) do redis.call('HSET', KEYS[1], position, step) end
emit('frame', ARGV[5])
weigh(ARGV[#ARGV])
return 1
"""
)
PROGRESS = (
    _FENCED
    + """
redis.call('HSET', KEYS[1], 'steps_done', ARGV[2])
return 1
"""
)
STORE = (
    _WEIGH
    + _FENCED
    + """
for i = 2, #ARGV - 1, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
redis.call('HSET', KEYS[1], 'images_done', redis.call('HLEN', KEYS[2]))
weigh(ARGV[#ARGV])
return 1
"""
)
SAVE = (
    _WEIGH
    + _FENCED
    + """
redis.call('DEL', KEYS[2])
for i = 2, #ARGV - 1 do redis.call('RPUSH', KEYS[2], ARGV[i]) end
weigh(ARGV[#ARGV])
return 1
"""
)
PUT_BACK = (
    _FENCED
    + """
redis.call('HINCRBY', KEYS[1], 'crashes', ARGV[2])
redis.call('HSET', KEYS[1], 'status', 'queued')
redis.call('ZADD', KEYS[2], redis.call('HGET', KEYS[1], 'order') or 0, ARGV[3])
return 1
"""
)
# Ends a job, if this attempt holds it; an empty attempt ends it whichever attempt holds it.
END = (
    _EMIT
    + _WEIGH
    + """
local current = redis.call('HMGET', KEYS[1], 'attempt', 'status')
if current[2] ~= 'queued' and current[2] ~= 'running' then return 0 end
if ARGV[1] ~= '' and (current[2] ~= 'running' or current[1] ~= ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'status', ARGV[2], 'error', ARGV[3], 'ended_at', ARGV[4])
redis.call('ZREM', KEYS[3], ARGV[#ARGV])
redis.call('ZREM', KEYS[6], ARGV[#ARGV])
redis.call('DEL', KEYS[5])
redis.call('HINCRBY', KEYS[4], 'jobs:' .. ARGV[2], 1)
redis.call('HINCRBY', KEYS[4], 'images', redis.call('HGET', KEYS[1], 'images_done') or 0)
emit(ARGV[5], ARGV[6])
weigh(ARGV[#ARGV])
return 1
"""
)
DELETE = (
    """
for _, id in ipairs(ARGV) do
  redis.call('DECRBY', KEYS[2], redis.call('HGET', JOB .. id, 'bytes') or 0)
  redis.call('DEL', JOB .. id, EVENTS .. id, IMAGES .. id, STATE .. id)
  redis.call('ZREM', KEYS[1], id)
end
""".replace("JOB", repr(keys.job("")))
    .replace("EVENTS", repr(keys.events("")))
    .replace("IMAGES", repr(keys.images("")))
    .replace("STATE", repr(keys.state("")))
)
# Recomputes the total, and measures jobs whose size an earlier version did not record.
RECOUNT = (
    _WEIGH
    + """
local total = 0
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if redis.call('EXISTS', JOB .. id) == 1 then
    if not redis.call('HGET', JOB .. id, 'bytes') then weigh(id) end
    total = total + tonumber(redis.call('HGET', JOB .. id, 'bytes'))
  end
end
if total == 0 then redis.call('DEL', KEYS[2]) else redis.call('SET', KEYS[2], total) end
""".replace("JOB", repr(keys.job("")))
)

_FIELDS = (*CONSTANT_FIELDS, *PROGRESS_FIELDS)
# Reads the queue in one pass. Returns the first ARGV[1] waiting jobs and, for each of the ascending orders ARGV[2] …,
# what waits before it: the number of jobs, and the row-steps of each model.
BACKLOG = (
    """
local waiting = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
local first, ahead, row_steps, jobs = {}, {}, {}, 0
local function note_until(order)
  while ARGV[#ahead + 2] and tonumber(ARGV[#ahead + 2]) <= order do
    local place = {jobs}
    for model, steps in pairs(row_steps) do
      place[#place + 1] = model
      place[#place + 1] = string.format('%.0f', steps)
    end
    ahead[#ahead + 1] = place
  end
end
for i = 1, #waiting, 2 do
  note_until(tonumber(waiting[i + 1]))
  local fields = redis.call('HMGET', JOB .. waiting[i], FIELDS)
  if #first < tonumber(ARGV[1]) and fields[1] then
    first[#first + 1] = {waiting[i], unpack(fields, 1, FIELD_COUNT)}
  end
  if fields[1] then row_steps[fields[1]] = (row_steps[fields[1]] or 0) + tonumber(fields[5]) end
  jobs = jobs + 1
end
note_until(math.huge)
return {first, ahead}
""".replace("JOB", repr(keys.job("")))
    .replace("FIELD_COUNT", str(len(_FIELDS)))
    .replace("FIELDS", ", ".join(map(repr, _FIELDS)))
)
