import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import react from '@vitejs/plugin-react';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

// `npm run dev` serves the page with hot reload and passes the API on to a running server.
const server = process.env['SEAFLOOR_URL'] ?? 'http://127.0.0.1:7340';

/** Puts the licences of the libraries that are in the page next to it, as they ask. */
function licences(): Plugin {
  return {
    name: 'licences',
    apply: 'build',
    generateBundle() {
      const packages = new Map<string, string>();
      for (const id of this.getModuleIds()) {
        const folder = packageFolder(id.replace(/^\0/, '').replace(/\?.*$/, ''));
        if (folder !== null && !packages.has(folder)) packages.set(folder, licenceOf(folder));
      }
      const source = [...packages.values()].sort().join(`\n${'-'.repeat(80)}\n\n`);
      this.emitFile({ type: 'asset', fileName: 'licences.txt', source });
    },
  };
}

function packageFolder(file: string): string | null {
  if (!file.includes('/node_modules/')) return null;
  let folder = dirname(file);
  for (;;) {
    const manifest = join(folder, 'package.json');
    if (existsSync(manifest) && 'version' in JSON.parse(readFileSync(manifest, 'utf8'))) return folder;
    if (folder.endsWith('/node_modules')) return null;
    folder = dirname(folder);
  }
}

function licenceOf(folder: string): string {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
  const text = file === undefined ? '' : readFileSync(join(folder, file), 'utf8');
  return `${name} ${version} (${license})\n\n${text}`;
}

export default defineConfig({
  plugins: [react(), licences()],
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
