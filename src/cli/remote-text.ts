/** Answers of the API as people read them. What is not of the expected form is printed as JSON. */
export function describeAnswer(command: string, answer: unknown): string {
  if (isObject(answer)) {
    if (command === 'ping') return describePing(answer)
    if (command === 'info') return describeInfo(answer)
    if (command === 'counters') return describeCounters(answer)
    if (command === 'inspect') return describeComponents(answer)
    if (command === 'add-disk' || command === 'add-net') return table([[`${answer['id']} at ${answer['bdf']}`]])
  }
  return JSON.stringify(answer, null, 2)
}

function describePing({ build_version, version, pid }: JsonObject): string {
  return `${build_version}, API of Cloud Hypervisor ${version}, process ${pid}`
}

const mebibyte = 1024 * 1024

function describeInfo({ state, config, memory_actual_size, device_tree }: JsonObject): string {
  const { cpus, payload, disks, net } = object(config)
  const rows = [
    ['state', state],
    ['vCPUs', object(cpus)['boot_vcpus']],
    ['memory', `${Number(memory_actual_size) / mebibyte} MiB`],
    ...['kernel', 'firmware'].flatMap(name => {
      const path = object(payload)[name]
      return path === undefined ? [] : [[name, path]]
    }),
    ...list(disks).map(disk => ['disk', disk['id'], disk['path'], disk['readonly'] === true ? 'read-only' : '']),
    ...list(net).map(card => ['net', card['id'], card['tap'] ?? '', card['mac'] ?? '']),
    ...list(Object.values(object(device_tree)))
      .filter(device => device['pci_bdf'] !== undefined)
      .map(device => ['device', device['id'], device['pci_bdf']]),
  ]
  return table(rows.map(row => row.map(cell => String(cell ?? ''))))
}

function describeCounters(counters: JsonObject): string {
  const rows = Object.entries(counters).flatMap(([device, values]) =>
    Object.entries(object(values)).map(([name, value]) => [device, name, String(value)]),
  )
  return rows.length === 0 ? 'no device has counted anything' : table(rows)
}

function describeComponents({ components }: JsonObject): string {
  const [first, ...others] = list(components)
  if (first !== undefined && others.length === 0 && 'content' in first) return JSON.stringify(first['content'], null, 2)
  const rows = list(components).map(({ name, state, schema, version, reason }) => {
    return [name, state, schema === undefined ? (reason ?? '') : `${schema} ${version}`]
  })
  return table(rows.map(row => row.map(String)))
}

type JsonObject = Readonly<Record<string, unknown>>

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function object(value: unknown): JsonObject {
  return isObject(value) ? value : {}
}

function list(value: unknown): JsonObject[] {
  return Array.isArray(value) ? value.filter(isObject) : []
}

/** Columns as wide as their widest cell. What a guest or a file named must not steer the terminal. */
export function table(rows: readonly (readonly string[])[]): string {
  const clean = rows.map(row => row.map(cell => cell.replaceAll(/\p{Cc}/gu, '?')))
  const widths: number[] = []
  for (const row of clean)
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length)
  return clean
    .map(row =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
