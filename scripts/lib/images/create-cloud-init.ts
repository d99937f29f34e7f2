import { parseArgs } from 'node:util'
import { seedFolder, writeSeedDisk } from './seed-disk.ts'

const usage = `usage: scripts/create-cloud-init DISTRO|FOLDER OUT
Makes a seed disk (FAT, label CIDATA) of user-data, meta-data and network-config in fixtures/cloud-init/DISTRO, or in a
folder. Those here make the user cloud, password cloud123, and give the card with MAC 12:34:56:78:90:ab 192.168.249.2.`

try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { help: { type: 'boolean', short: 'h' } },
  })
  const [name, out, ...more] = positionals
  if (values.help) console.log(usage)
  else if (name === undefined || out === undefined || more.length > 0) {
    console.error(usage)
    process.exitCode = 2
  } else writeSeedDisk(seedFolder(name), out)
} catch (error) {
  console.error(`create-cloud-init: ${error instanceof Error ? error.message : error}`)
  process.exitCode = 1
}
