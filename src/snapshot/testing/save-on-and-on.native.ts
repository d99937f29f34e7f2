import { writeSync } from 'node:fs'
import { join } from 'node:path'
import { PlainMachine, plainPages } from './plain-machine.native.ts'

/**
 * Saves a machine until somebody kills this process: `over` the snapshot `one` in the directory that is named, or into a `new`
 * one each time. The first word of the first and the last page is the number of the snapshot.
 */
const [, , place = '', how = ''] = process.argv
using machine = await PlainMachine.create()
for (let number = 1; ; number += 1) {
  for (const page of [0, plainPages - 1]) machine.write(page, new Uint8Array(Uint32Array.of(number).buffer))
  const path = join(place, how === 'over' ? 'one' : `${number}`)
  writeSync(1, `begun ${number}\n`)
  await machine.save(path, { overwrite: how === 'over', durability: 'data' })
  writeSync(1, `done ${number}\n`)
}
