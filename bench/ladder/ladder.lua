-- What wrk sends: a request whose path holds a number drawn at random, or a POST. Its results come as one line of JSON.
-- Arguments: method, path with %d for the number, its least and greatest value, body with %d, an ETag for each number on a line of its
-- own (or nothing), headers as "Name: value" each.
local method, path, least, greatest, body
local tags = {}
local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  method, path, least, greatest, body = args[1], args[2], tonumber(args[3]), tonumber(args[4]), args[5]
  math.randomseed(7919 * (number + 1) + least + greatest)
  for tag in args[6]:gmatch("[^\n]+") do tags[#tags + 1] = tag end
  for at = 7, #args do
    local name, value = args[at]:match("^(.-): (.*)$")
    wrk.headers[name] = value
  end
  if body ~= "" then wrk.headers["Content-Type"] = "application/json" end
end

function request()
  local drawn = math.random(least, greatest)
  if body ~= "" then return wrk.format(method, path, nil, (body:gsub("%%d", drawn))) end
  if #tags > 0 then wrk.headers["If-None-Match"] = tags[drawn - least + 1] end
  return wrk.format(method, (path:gsub("%%d", drawn)))
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\nladder {"requests": %d, "microseconds": %d, "refused": %d, "broken": %d, "p50": %d, "p99": %d, "most": %d}\n',
    summary.requests, summary.duration, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99), latency.max))
end
