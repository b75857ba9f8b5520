# Two stages: dependencies are installed where npm is, and run where neither npm nor a shell is needed.
# scripts/check-dockerfile.mjs runs these steps without a Docker engine.
FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund
COPY src ./src
COPY config/postern.yaml config/schema.json ./config/
COPY scripts/healthcheck.mjs ./scripts/
COPY LICENSE README.md ./
RUN mkdir -p /var/lib/postern

FROM gcr.io/distroless/cc-debian12:nonroot
WORKDIR /app
COPY --from=build --chown=root:root /app /app
COPY --from=build --chown=65532:65532 /var/lib/postern /var/lib/postern
# No options of Node from a base image: keys are in memory. Run it with --ulimit core=0, too.
ENV NODE_ENV=production NODE_OPTIONS="" NODE_COMPILE_CACHE=/var/lib/postern/compiled
USER 65532:65532
EXPOSE 2525
VOLUME ["/etc/postern", "/var/lib/postern"]
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s --retries=3 \
  CMD ["/app/node_modules/.bin/node", "/app/scripts/healthcheck.mjs", "2525"]
ENTRYPOINT ["/app/node_modules/.bin/node", "--disable-sigusr1", "--disable-warning=ExperimentalWarning", "/app/src/main.ts"]
CMD ["start", "--config", "/etc/postern/postern.yaml"]
