# One image for all roles; the command chooses the role:
#   node src/api/main.ts              (default)
#   node src/worker/inference/main.ts
#   node src/worker/webhooks/main.ts
#   amulet …                          the command line: docker run --rm amulet amulet --help
FROM node:24-bookworm-slim AS packages
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# No CUDA download, and only this platform's ONNX Runtime: the package carries five. Source maps, type declarations and the
# compiler are not needed at run time: TypeScript comes as an optional peer of valibot's types.
RUN ONNXRUNTIME_NODE_INSTALL=skip npm ci --omit=dev --no-audit --no-fund --loglevel=error \
 && rm -rf node_modules/typescript \
 && find node_modules -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' \) -delete \
 && cd node_modules/onnxruntime-node/bin/napi-v* \
 && arch="$(node -p process.arch)" \
 && find . -mindepth 2 -maxdepth 2 -type d ! -path "./linux/$arch" -exec rm -rf {} +

FROM node:24-bookworm-slim
# The options of src/shared/runtime/node-flags.ts.
ENV NODE_ENV=production NODE_OPTIONS="--disable-warning=ExperimentalWarning --max-semi-space-size=8" \
    NODE_COMPILE_CACHE=/app/.compile-cache DATA_DIR=/data \
    HOST=0.0.0.0 PORT=3000 METRICS_HOST=0.0.0.0 METRICS_PORT=3300 \
    WORKER_HOST=0.0.0.0 WORKER_PORT=3100 WEBHOOK_HEALTH_HOST=0.0.0.0 WEBHOOK_HEALTH_PORT=3200
WORKDIR /app
COPY --from=packages /app/node_modules ./node_modules
COPY package.json LICENSE ./
COPY models/sentiment-multilingual ./models/sentiment-multilingual
COPY models/sst2-minilm ./models/sst2-minilm
COPY models/goemotions-minilm ./models/goemotions-minilm
COPY src ./src
# Node looks for the cache of its own user. No process can change what another one runs.
RUN mkdir .compile-cache && chown node .compile-cache && setpriv --reuid=node --clear-groups node src/fill-compile-cache.js \
 && chown -R root .compile-cache && chmod -R a+rX .compile-cache
# The only writable folder, for batches: mount a volume there.
RUN mkdir /data && chown node /data && ln -s /app/src/cli/bin.js /usr/local/bin/amulet
USER node
EXPOSE 3000 3100 3200 3300
# The slim image has no curl. The timeout allows for an overloaded machine.
HEALTHCHECK --interval=10s --timeout=10s --start-period=30s CMD ["node", "src/healthcheck/main.ts"]
CMD ["node", "src/api/main.ts"]
