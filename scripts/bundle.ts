import { chmodSync, readFileSync } from 'node:fs'
import { build } from 'esbuild'

/** Bundles the program and the library into dist/. */
const root = new URL('..', import.meta.url).pathname
const { version } = JSON.parse(readFileSync(`${root}package.json`, 'utf8'))

await build({
  absWorkingDir: root,
  entryPoints: { tsvmm: 'src/cli/tsvmm.ts', index: 'src/index.ts' },
  outdir: 'dist',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node24',
  define: { TSVMM_VERSION: JSON.stringify(version) },
  // commander is CommonJS: its require of node's own modules needs one.
  banner: {
    js: "import { createRequire as createRequireForBundle } from 'node:module'; const require = createRequireForBundle(import.meta.url);",
  },
  logLevel: 'warning',
})
chmodSync(`${root}dist/tsvmm.js`, 0o755)
