# Two images: `app` without torch, and `worker` with torch and a C++ compiler. Layers that change least come first.

FROM python:3.11-slim-bookworm AS base
# Optional: a package mirror, or a folder of wheels.
ARG PIP_FIND_LINKS=""
ARG PIP_EXTRA_INDEX_URL=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PYTHONUNBUFFERED=1
RUN useradd --uid 10001 --create-home noisemill
WORKDIR /home/noisemill

# The requirements alone, so that other changes to pyproject.toml do not reinstall the packages.
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
# torch.compile, which is 2.5 times as fast, needs a C++ compiler and Python's headers, which some base images lack.
RUN apt-get update \
 && headers=$(python -c "import sysconfig; print(sysconfig.get_path('include'))")/Python.h \
 && apt-get install -y --no-install-recommends g++ $(test -e "$headers" || echo python3-dev) \
 && rm -rf /var/lib/apt/lists/*
RUN install -d -o noisemill -g noisemill /models /compiled
COPY constraints.txt .
COPY --from=requirements /home/noisemill/worker.txt .
# Package index for torch and torchvision, such as https://download.pytorch.org/whl/cpu; empty: pip's own index.
ARG TORCH_INDEX=""
RUN --mount=type=cache,target=/root/.cache/pip test -z "$TORCH_INDEX" \
 || pip install -c constraints.txt --no-deps --index-url "$TORCH_INDEX" torch torchvision
RUN --mount=type=cache,target=/root/.cache/pip pip install -r worker.txt -c constraints.txt
COPY --from=requirements /home/noisemill/app.txt .
RUN --mount=type=cache,target=/root/.cache/pip pip install -r app.txt -c constraints.txt
RUN --mount=type=bind,from=wheel,source=/home/noisemill/wheels,target=/wheels pip install --no-deps /wheels/*.whl
USER noisemill
ENV NOISEMILL_MODELS=/models TORCHINDUCTOR_CACHE_DIR=/compiled
# A worker is healthy if its heartbeat is in Redis; the first is sent after torch and the models are loaded.
HEALTHCHECK --interval=15s --timeout=10s --start-period=120s --retries=3 \
    CMD python -c "import socket, sys; from redis import Redis; from jobs import keys; \
from worker.settings import WorkerSettings; redis = Redis.from_url(WorkerSettings().redis_url); \
sys.exit(not any(redis.scan_iter(keys.worker(socket.gethostname() + '-*'), count=1000)))"
CMD ["noisemill", "worker"]
