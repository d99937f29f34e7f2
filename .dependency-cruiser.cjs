// Who may import whom: the layers of docs/architecture.md. Types count as imports.
const layers = {
  util: [],
  platform: ['util'],
  native: ['util'],
  config: ['util'],
  state: ['util'],
  memory: ['util', 'state', 'native', 'bus', 'hypervisor', 'interrupts'],
  bus: ['util', 'state', 'native', 'memory', 'hypervisor', 'interrupts'],
  hypervisor: ['util', 'state', 'native', 'memory', 'bus', 'interrupts'],
  interrupts: ['util', 'state', 'memory', 'bus', 'hypervisor'],
  pci: ['util', 'state', 'bus', 'interrupts'],
  backends: ['util', 'state', 'memory', 'native'],
  acpi: ['util', 'platform', 'memory', 'pci', 'hypervisor'],
  devices: ['util', 'state', 'bus', 'interrupts', 'backends', 'acpi'],
  virtio: ['util', 'state', 'memory', 'bus', 'interrupts', 'pci', 'backends', 'native'],
  boot: ['util', 'platform', 'memory', 'pci', 'hypervisor'],
  machine: [
    ...['util', 'platform', 'native', 'config', 'state', 'memory', 'bus', 'hypervisor', 'interrupts', 'pci', 'backends'],
    ...['acpi', 'devices', 'virtio', 'boot'],
  ],
  snapshot: ['util', 'config', 'state', 'memory', 'native', 'machine'],
  migration: ['util', 'config', 'state', 'memory', 'native', 'machine', 'snapshot'],
  vmm: ['util', 'config', 'machine', 'hypervisor', 'state', 'memory', 'snapshot', 'migration', 'native'],
  api: ['util', 'config', 'snapshot', 'migration', 'vmm', 'native'],
  cli: ['util', 'config', 'backends', 'snapshot', 'migration', 'vmm', 'api'],
}

const forbidden = Object.entries(layers).map(([layer, allowed]) => ({
  name: `${layer}-imports`,
  severity: 'error',
  from: { path: `^src/${layer}/`, pathNot: '/testing/|\\.test\\.ts$' },
  to: { path: '^src/', pathNot: `^src/(${[layer, ...allowed].join('|')})/` },
}))

module.exports = {
  forbidden: [
    ...forbidden,
    {
      name: 'only-native-files-see-the-addon',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/native/|\\.native(\\.test)?\\.ts$' },
      to: { path: '^src/native/' },
    },
    {
      name: 'x86-stays-in-its-files',
      severity: 'error',
      from: { path: '^src/', pathNot: 'x86_64|^src/machine/(state-schemas|cpu-fingerprint)\\.ts$' },
      to: { path: 'x86_64', pathNot: '^src/machine/x86_64-machine\\.ts$' },
    },
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { extensions: ['.ts', '.js'] },
  },
}
