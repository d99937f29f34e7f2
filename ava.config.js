// Unit tests stand beside their sources and run as they are: Node 24 strips the types.
// biome-ignore lint/style/noDefaultExport: ava reads its configuration from the default export
export default {
  files: ['src/**/*.test.ts', 'scripts/**/*.test.ts'],
  extensions: { ts: 'module' },
  timeout: '2m',
}
