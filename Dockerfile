# One image for all roles; the command selects one. Stores run in their own containers, so the
# embedded ones are not installed.
FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/feedmill
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY server server
COPY worker worker
COPY shared shared
COPY feedmill feedmill
COPY docs docs
RUN /opt/feedmill/bin/pip install -c constraints.txt .

FROM python:3.13-slim
ARG VERSION=0.2.0
LABEL org.opencontainers.image.title="feedmill" org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="$VERSION"
RUN groupadd --gid 10001 feedmill \
    && useradd --uid 10001 --gid feedmill --home-dir /var/lib/feedmill --create-home feedmill
COPY --from=build /opt/feedmill /opt/feedmill
ENV PATH=/opt/feedmill/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DATA_DIR=/var/lib/feedmill \
    LOG_FORMAT=json
USER feedmill
WORKDIR /var/lib/feedmill
EXPOSE 8000
# Becomes `python -m server` or `python -m worker` under the same process id, so that signals
# reach it. Health checks differ by role: docker-compose.yml has them.
ENTRYPOINT ["feedmill"]
CMD ["server"]
