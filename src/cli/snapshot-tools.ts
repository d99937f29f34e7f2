import { inspectSnapshot, type SnapshotReport, verifySnapshot } from '../snapshot/inspect.ts'
import { table } from './remote-text.ts'

/** What is done with a snapshot without a machine. */
export type SnapshotTool = 'inspect' | 'verify'

export async function runSnapshotTool(tool: SnapshotTool, path: string, isJson: boolean): Promise<number> {
  if (tool === 'verify') {
    await verifySnapshot(path)
    return 0
  }
  const report = await inspectSnapshot(path)
  console.log(isJson ? JSON.stringify(report, undefined, 2) : describe(report))
  return 0
}

const mebibyte = 1024 * 1024

function describe({ manifest, cpu, memoryBytes, bytesOnDisk }: SnapshotReport): string {
  const { id, created, writer, architecture, memory, components, files } = manifest
  const facts = [
    ['id', id],
    ['written', `${created} by ${writer.name} ${writer.version}, format ${manifest.format}`],
    ['machine', architecture],
    ['CPU', cpu.line],
    ['memory', `${memoryBytes / mebibyte} MiB in ${memory.ranges.length} ranges, kept as ${memory.form}`],
    ['features', cpu.features.join(' ')],
  ]
  const fileRows = Object.entries(files).map(([name, { bytes }]) => {
    return ['file', name, `${bytes} bytes`, `${bytesOnDisk[name] ?? 0} on disk`]
  })
  const parts = components.map(({ name, schema, version, bytes }) => {
    return ['component', name, `${schema} ${version}`, `${bytes} bytes`]
  })
  return [table(facts), table(fileRows), table(parts)].join('\n\n')
}
