# docker build -t askless .                                what serves and labels; --build-arg DEVICE=cuda with local models
# docker build -t askless-pipeline --target pipeline .     Prefect, MLflow, DVC: servers and workers
ARG PYTHON=3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d

FROM python:${PYTHON} AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    DO_NOT_TRACK=1 MLFLOW_DISABLE_TELEMETRY=true PREFECT_SERVER_ANALYTICS_ENABLED=false DVC_NO_ANALYTICS=1 \
    PATH=/venv/bin:$PATH
RUN useradd --uid 10001 --create-home askless && mkdir /work && chown askless /work && python -m venv /venv

# Every file by its hash. `cpu` leaves torch out, and what it alone needs: models of this machine are then not served.
FROM base AS build
ARG DEVICE=cpu
WORKDIR /build
COPY requirements.lock ./
RUN if [ "$DEVICE" = cpu ]; then \
      sed -i -E '/^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==/,/[^\\]$/d' requirements.lock; \
    fi && pip install --require-hashes --no-deps -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --no-deps .

FROM base AS pipeline
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY src src
RUN pip install -c constraints.txt '.[pipeline,serve,postgres]'
WORKDIR /project
COPY dvc.yaml params.yaml prefect.yaml ./
COPY flows flows
COPY tasks tasks
# A volume has the owner of the folder that it is put on: MLflow's artifacts, Prefect's data.
RUN mkdir /artifacts /home/askless/.prefect && chown -R askless /project /artifacts /home/askless/.prefect
USER 10001

FROM base AS serve
COPY --from=build /venv /venv
WORKDIR /work
USER 10001
EXPOSE 8080
# Keys that clients must show: ASKLESS_SERVE_KEY. Without one no other machine may ask.
ENTRYPOINT ["askless"]
CMD ["serve", "--help"]
