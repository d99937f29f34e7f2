import { snapshotRequest, snapshotSchema } from '../api/snapshot-requests.ts'
import { diffSnapshots, type SnapshotDifferences } from '../snapshot/diff.ts'
import { inspectSnapshot, type SnapshotReport, verifySnapshot } from '../snapshot/inspect.ts'
import { mergeSnapshot } from '../snapshot/merge.ts'
import { TsvmmError } from '../util/errors.ts'
import { seldomChecked } from '../util/issues.ts'
import { snapshotKeys } from './keys.ts'
import { type OptionKeys, parseOption, withFirstKey } from './options.ts'
import { ProgressBar } from './progress-bar.ts'
import { table } from './remote-text.ts'
import { describeProgress } from './snapshot-progress.ts'

/** What is done with a snapshot without a machine. */
export type SnapshotTool = 'inspect' | 'verify' | 'diff' | 'merge'

export async function runSnapshotTool(
  tool: SnapshotTool,
  [path = '', other = '']: readonly string[],
  isJson: boolean,
): Promise<number> {
  if (tool === 'diff') {
    const differences = await diffSnapshots(path, other)
    console.log(isJson ? JSON.stringify(differences, undefined, 2) : describeDifferences(differences))
    return 0
  }
  if (tool === 'merge') {
    await merge(path, other)
    return 0
  }
  if (tool === 'verify') {
    await verifySnapshot(path)
    return 0
  }
  const report = await inspectSnapshot(path)
  console.log(isJson ? JSON.stringify(report, undefined, 2) : describe(report))
  return 0
}

const { parent: _parent, live: _live, ...mergeKeys }: OptionKeys = snapshotKeys

async function merge(path: string, into: string): Promise<void> {
  const given = parseOption('snapshot merge', withFirstKey(into, mergeKeys), mergeKeys)
  const { path: destination, options } = snapshotRequest(snapshotSchema.parse(given, seldomChecked))
  const end = new AbortController()
  const onSignal = () => end.abort(new TsvmmError('ERR_ABORTED', { operation: 'snapshot merge' }))
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, onSignal)
  using bar = new ProgressBar('merging')
  await mergeSnapshot(path, destination, { ...options, signal: end.signal }, progress =>
    bar.show(describeProgress(progress)),
  )
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

function describeDifferences({ config, components, memory }: SnapshotDifferences): string {
  const configRows = config.map(({ field, first, second }) => ['config', field, first, second])
  const componentRows = components.flatMap(({ name, onlyIn, fields }) => {
    if (onlyIn !== undefined) return [[name, `only in the ${onlyIn}`]]
    return fields.map(({ field, first, second }) => [name, field, first, second])
  })
  const memoryRow =
    memory === undefined
      ? ['memory', 'it is not in the same places']
      : ['memory', `${memory.differingPages} of ${memory.pages} pages differ`]
  return table([...configRows, ...componentRows, memoryRow])
}
