/** A load as fio runs it; each is a figure of its own. */
export interface FioJob {
  readonly name: string
  readonly pattern: 'randread' | 'read' | 'randwrite'
  readonly blockBytes: number
  readonly depth: number
}

export interface FioResult {
  readonly operationsPerSecond: number
  readonly bytesPerSecond: number
}

/** One line of shell that runs the job on a block device and prints one line of results. */
export function fioCommand(job: FioJob, device: string, seconds: number): string {
  return [
    ...['fio', '--output-format=terse', '--terse-version=3', `--name=${job.name}`, `--filename=${device}`],
    ...[`--rw=${job.pattern}`, `--bs=${job.blockBytes}`, `--iodepth=${job.depth}`],
    // The clock is an emulated guest's dearest call: without it fio measures the disk rather than itself.
    ...['--ioengine=io_uring', '--direct=1', '--thread', '--norandommap', '--gtod_reduce=1'],
    ...['--time_based', '--ramp_time=1', `--runtime=${seconds}`],
  ].join(' ')
}

/** Fields of fio's terse output, version 3 (fio's HOWTO, "Terse output"), counted from 0. */
const fields = {
  version: 0,
  name: 2,
  error: 4,
  read: { kibibytesPerSecond: 6, operationsPerSecond: 7 },
  write: { kibibytesPerSecond: 47, operationsPerSecond: 48 },
} as const

/** Throws where the job is missing, has failed or has done nothing. */
export function fioResult(output: string, job: FioJob): FioResult {
  const lines = output.split('\n').map(line => line.split(';'))
  const line = lines.find(each => each[fields.version] === '3' && each[fields.name] === job.name)
  if (line === undefined) throw new Error(`fio has no result of ${job.name}:\n${output}`)
  if (line[fields.error] !== '0') throw new Error(`${job.name} failed with error ${line[fields.error]}`)
  const { kibibytesPerSecond, operationsPerSecond } = job.pattern === 'randwrite' ? fields.write : fields.read
  const result = {
    operationsPerSecond: Number(line[operationsPerSecond]),
    bytesPerSecond: Number(line[kibibytesPerSecond]) * 1024,
  }
  if (!(result.operationsPerSecond > 0 && result.bytesPerSecond > 0)) throw new Error(`${job.name} did nothing`)
  return result
}
