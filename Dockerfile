# Runs `sealpost serve`; mount the configuration at /etc/sealpost, the data at /var/lib/sealpost, the secret key elsewhere.
FROM node:26-bookworm-slim
WORKDIR /opt/sealpost
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --omit=optional && npm cache clean --force
COPY bin bin
COPY src src
RUN useradd --system --home /var/lib/sealpost sealpost && install -d -o sealpost -m 0700 /var/lib/sealpost
USER sealpost
ENV SEALPOST_CONFIG=/etc/sealpost/sealpost.yaml
HEALTHCHECK --interval=30s --timeout=5s CMD ["node", "bin/sealpost.js", "healthcheck"]
# not npm start: npm does not pass SIGTERM on
CMD ["node", "bin/sealpost.js", "serve"]
