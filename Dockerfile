# One image for every part; the command chooses the role:
#   node src/api/main.ts              (default)
#   node src/worker/inference/main.ts
#   node src/worker/webhooks/main.ts
FROM node:24-bookworm-slim AS packages
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# No CUDA download, and only this platform's ONNX Runtime: the package carries five of them.
RUN ONNXRUNTIME_NODE_INSTALL=skip npm ci --omit=dev --no-audit --no-fund --loglevel=error \
 && cd node_modules/onnxruntime-node/bin/napi-v* \
 && arch="$(node -p process.arch)" \
 && find . -mindepth 2 -maxdepth 2 -type d ! -path "./linux/$arch" -exec rm -rf {} +

FROM node:24-bookworm-slim
ENV NODE_ENV=production DATA_DIR=/data HOST=0.0.0.0 WORKER_HOST=0.0.0.0 WORKER_PORT=3100 \
    WEBHOOK_HEALTH_HOST=0.0.0.0 WEBHOOK_HEALTH_PORT=3200
WORKDIR /app
COPY --from=packages /app/node_modules ./node_modules
COPY package.json LICENSE ./
COPY src ./src
COPY models/sst2-minilm ./models/sst2-minilm
COPY models/goemotions-minilm ./models/goemotions-minilm
# The one place that is written to, for batches: mount a volume there.
RUN mkdir /data && chown node /data
USER node
EXPOSE 3000 3100 3200
# The slim image has no curl. An API answers on its PORT, a worker on WORKER_PORT, a webhook process on WEBHOOK_HEALTH_PORT.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["node", "-e", "const t=p=>fetch(`http://127.0.0.1:${p}/health/ready`).then(r=>{if(!r.ok)throw r});t(process.env.PORT??3000).catch(()=>t(process.env.WORKER_PORT)).catch(()=>t(process.env.WEBHOOK_HEALTH_PORT)).catch(()=>process.exit(1))"]
CMD ["node", "src/api/main.ts"]
