import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

// `npm run dev` serves the page with hot reload and passes the API on to a running server.
const server = process.env['SEAFLOOR_URL'] ?? 'http://127.0.0.1:7340';

export default defineConfig({
  plugins: [react()],
  build: {
    outDir: '../src/seafloor/http/web',
    emptyOutDir: true,
    assetsInlineLimit: 0, // no data: URLs, so that the strictest content policy holds
    cssTarget: ['chrome123', 'firefox120', 'safari17.5'], // the first with light-dark(), since 2024
    chunkSizeWarningLimit: 700,
  },
  server: {
    proxy: { '/api': { target: server, changeOrigin: true, headers: { origin: server } } },
  },
  test: { include: ['src/**/*.test.ts'] },
});
