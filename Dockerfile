# Two images: `app`, which has no torch, and `worker`, which has torch and a compiler. What changes least comes first.

FROM python:3.11-slim-bookworm AS base
# For a mirror or wheels of your own; both may stay empty.
ARG PIP_FIND_LINKS=""
ARG PIP_EXTRA_INDEX_URL=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PYTHONUNBUFFERED=1
RUN useradd --uid 10001 --create-home noisemill
WORKDIR /home/noisemill

# What to install, drawn out of pyproject.toml: a change to anything else in there reinstalls nothing.
FROM base AS requirements
COPY pyproject.toml .
RUN python -c "import tomllib; \
all = tomllib.load(open('pyproject.toml', 'rb')); \
print(*all['build-system']['requires'], sep='\n', file=open('build.txt', 'w')); \
print(*all['project']['dependencies'], sep='\n', file=open('app.txt', 'w')); \
print(*all['project']['optional-dependencies']['worker'], sep='\n', file=open('worker.txt', 'w'))"

FROM base AS wheel
COPY --from=requirements /home/noisemill/build.txt .
RUN --mount=type=cache,target=/root/.cache/pip pip install -r build.txt
COPY . source
RUN pip wheel --no-deps --no-build-isolation --wheel-dir wheels ./source

FROM base AS app
COPY constraints.txt .
COPY --from=requirements /home/noisemill/app.txt .
RUN --mount=type=cache,target=/root/.cache/pip pip install -r app.txt -c constraints.txt
RUN --mount=type=bind,from=wheel,source=/home/noisemill/wheels,target=/wheels pip install --no-deps /wheels/*.whl
USER noisemill
ENV HOST=0.0.0.0 PORT=8000
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD python -c "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/healthz')"
CMD ["sh", "-c", "exec noisemill app --host \"$HOST\" --port \"$PORT\""]

FROM base AS worker
# torch.compile, 2.5 times the speed, needs a C++ compiler and Python's headers, which not every Python image brings.
RUN apt-get update \
 && headers=$(python -c "import sysconfig; print(sysconfig.get_path('include'))")/Python.h \
 && apt-get install -y --no-install-recommends g++ $(test -e "$headers" || echo python3-dev) \
 && rm -rf /var/lib/apt/lists/*
RUN install -d -o noisemill -g noisemill /models /compiled
COPY constraints.txt .
COPY --from=requirements /home/noisemill/worker.txt .
RUN --mount=type=cache,target=/root/.cache/pip pip install -r worker.txt -c constraints.txt
COPY --from=requirements /home/noisemill/app.txt .
RUN --mount=type=cache,target=/root/.cache/pip pip install -r app.txt -c constraints.txt
RUN --mount=type=bind,from=wheel,source=/home/noisemill/wheels,target=/wheels pip install --no-deps /wheels/*.whl
USER noisemill
ENV NOISEMILL_MODELS=/models TORCHINDUCTOR_CACHE_DIR=/compiled
# Alive is a worker whose heartbeat is in Redis; the first one comes once torch and the models are loaded.
HEALTHCHECK --interval=15s --timeout=10s --start-period=120s --retries=3 \
    CMD python -c "import socket, sys; from redis import Redis; from jobs import keys; \
from worker.settings import WorkerSettings; redis = Redis.from_url(WorkerSettings().redis_url); \
sys.exit(not any(redis.scan_iter(keys.worker(socket.gethostname() + '-*'), count=1000)))"
CMD ["noisemill", "worker"]
