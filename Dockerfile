# Two stages: what builds stays behind. The result runs as nobody, on a read-only root, and writes to /data alone.

FROM python:3.13-slim AS build
COPY --from=ghcr.io/astral-sh/uv:0.13.8 /uv /usr/local/bin/uv
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=/opt/otel-bridge
WORKDIR /src
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv sync --frozen --no-dev --no-install-project
COPY otel_bridge ./otel_bridge
RUN uv sync --frozen --no-dev --no-editable

FROM python:3.13-slim
LABEL org.opencontainers.image.title="otel-bridge" \
      org.opencontainers.image.description="OpenTelemetry from AI agents in, whole Langfuse traces out" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/otel-bridge /opt/otel-bridge
# In a container the ports must be reachable from outside of it; who may reach them is the host's to say (-p 127.0.0.1:...).
ENV PATH=/opt/otel-bridge/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OTEL_BRIDGE_GRPC=0.0.0.0:4317 \
    OTEL_BRIDGE_HTTP=0.0.0.0:4318 \
    OTEL_BRIDGE_VIEWER=0.0.0.0:4319 \
    OTEL_BRIDGE_INSECURE_ALLOW_PUBLIC=true \
    OTEL_BRIDGE_DATA_DIR=/data
RUN install -d -o 65532 -g 65532 -m 0700 /data
USER 65532:65532
VOLUME /data
EXPOSE 4317 4318 4319
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["otel-bridge", "healthcheck"]
ENTRYPOINT ["otel-bridge"]
CMD ["serve"]
