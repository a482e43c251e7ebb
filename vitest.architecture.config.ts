// The architecture test alone: part of `npm run check`, needs no peers.
import { defineConfig } from "vitest/config";

export default defineConfig({ test: { include: ["test/architecture.test.ts"] } });
