import { globSync, readdirSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'
import test from 'ava'
import { stateSchemas } from './state-schemas.ts'

const folder = new URL('../../fixtures/schemas/', import.meta.url).pathname
const sources = new URL('..', import.meta.url).pathname

test('no version of a saved state is other than it was: a new shape has a new version', t => {
  for (const { id, shapes } of stateSchemas) {
    const known: unknown = JSON.parse(readFileSync(`${folder}${id}.json`, 'utf8'))
    t.deepEqual(known, shapes, `${id}: node scripts/dump-schemas.ts adds versions`)
  }
})

test('no schema is gone', t => {
  const known = readdirSync(folder).map(name => basename(name, '.json'))
  t.deepEqual(stateSchemas.map(({ id }) => id).toSorted(), known.toSorted())
})

test('every schema that a source defines is in the list, once', t => {
  const defined = globSync('**/*-state.ts', { cwd: sources }).flatMap(file =>
    [...readFileSync(`${sources}${file}`, 'utf8').matchAll(/defineState\(\s*'([^']+)'/g)].map(([, id]) => id),
  )
  t.deepEqual(defined.toSorted(), stateSchemas.map(({ id }) => id).toSorted())
})
