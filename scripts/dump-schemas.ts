import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { stateSchemas } from '../src/machine/state-schemas.ts'

/**
 * Writes the shape of every version of every saved state to fixtures/schemas/, which the tests compare with the schemas. A
 * version that is there already is never changed: a new shape needs a new version, and a step from the old one.
 */
const folder = new URL('../fixtures/schemas/', import.meta.url).pathname
let changed = 0
for (const { id, shapes } of stateSchemas) {
  const file = `${folder}${id}.json`
  const known: unknown = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : []
  const versions: readonly unknown[] = Array.isArray(known) ? known : []
  for (const [index, shape] of versions.entries()) {
    if (JSON.stringify(shape) === JSON.stringify(shapes[index])) continue
    console.error(`${id}: version ${index + 1} is not what it was: add a version (StateSchema.next) instead`)
    changed += 1
  }
  if (changed === 0) writeFileSync(file, `${JSON.stringify(shapes, undefined, 2)}\n`)
}
process.exitCode = changed === 0 ? 0 : 1
