import integration from '../ava.config.js'

// biome-ignore lint/style/noDefaultExport: ava reads its configuration from the default export
export default { ...integration, files: ['integration/clients/*.test.ts'] }
