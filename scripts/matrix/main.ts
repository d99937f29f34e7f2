import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { chooseImages, matrixImageNames, obtainImages } from './images.ts'
import {
  type ChosenImage,
  cellsOf,
  nameOf,
  parseFilter,
  planGroups,
  suiteGroups,
  vcpuCounts,
  verbs,
  ways,
} from './plan.ts'
import { runMatrix } from './run.ts'

const usage = `usage: npm run matrix -- [WORD...] [--suite] [--offline] [--list] [--out DIR]
Boots cloud images in every way, and does with each machine what there is to do.
WORD     only cells with that value: ${[...matrixImageNames, ...ways, ...vcpuCounts, ...verbs].join(', ')}
--suite  those that npm test runs
--offline  images that are cached already; others are not asked for
--list   says which cells there are
--out    where report.md, junit.xml and the serial logs of failures go (results/matrix)
There are cells of rust-firmware where TSVMM_RUST_FIRMWARE names the file of a rust-hypervisor-firmware.`

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      suite: { type: 'boolean' },
      offline: { type: 'boolean' },
      list: { type: 'boolean' },
      out: { type: 'string', default: 'results/matrix' },
      help: { type: 'boolean', short: 'h' },
    },
  })
  if (values.help) {
    console.log(usage)
    return 0
  }
  const filter = parseFilter(positionals, matrixImageNames)
  const say = (line: string) => console.error(line)
  const isOffline = values.offline === true || values.suite === true
  const rustFirmware = process.env['TSVMM_RUST_FIRMWARE']
  const plan = <Image extends ChosenImage>(images: readonly Image[]) =>
    values.suite ? suiteGroups(images) : planGroups(images, filter, rustFirmware)
  const chosen = await chooseImages({ isOffline, wanted: filter.images, say })
  const names = plan(chosen).flatMap(cellsOf).map(nameOf)
  if (names.length === 0) throw new Error('there is no such cell')
  if (values.list) {
    console.log(names.join('\n'))
    return 0
  }
  const groups = plan(await obtainImages(chosen))
  const results = await runMatrix(groups, { directory: values.out, say })
  console.log(readFileSync(join(values.out, 'report.md'), 'utf8'))
  return results.some(({ error }) => error !== undefined) ? 1 : 0
}

try {
  process.exitCode = await main()
} catch (error) {
  console.error(`matrix: ${error instanceof Error ? error.message : error}`)
  process.exitCode = 2
}
