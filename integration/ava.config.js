// Boots share the machine's two cores and its network names: one file at a time, one test at a time.
// biome-ignore lint/style/noDefaultExport: ava reads its configuration from the default export
export default {
  files: ['integration/*.test.ts'],
  extensions: { ts: 'module' },
  concurrency: 1,
  serial: true,
  timeout: '10m',
}
