# Runs `sealpost serve`; mount the configuration at /etc/sealpost, the data at /var/lib/sealpost, the secret key at
# /var/lib/sealpost-secret. deploy/compose.yaml takes away what it does not need.
FROM node:26.10.0-bookworm-slim
WORKDIR /opt/sealpost
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --omit=optional && npm cache clean --force
COPY bin bin
COPY src src
# what Node makes of the source is kept in the image: half the time to start, and less memory
RUN node bin/sealpost.js --help > /dev/null
RUN useradd --system --home /var/lib/sealpost sealpost \
  && install -d -o sealpost -m 0700 /var/lib/sealpost /var/lib/sealpost-secret
USER sealpost
ENV SEALPOST_CONFIG=/etc/sealpost/sealpost.yaml
HEALTHCHECK --interval=30s --timeout=5s CMD ["node", "bin/sealpost.js", "healthcheck"]
# no debugger on SIGUSR1; no core files, whatever the host's limit is; exec, so that SIGTERM arrives (npm start would not pass it on)
CMD ["/bin/sh", "-c", "ulimit -c 0 && exec node --disable-sigusr1 bin/sealpost.js serve"]
