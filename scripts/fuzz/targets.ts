import fc from 'fast-check'
import { stateSchemas } from '../../src/machine/state-schemas.ts'
import {
  formatManifest,
  incremental,
  type Manifest,
  newestFormat,
  parseManifest,
  sealManifest,
} from '../../src/snapshot/manifest.ts'
import { decodeRecords, encodeRecords } from '../../src/snapshot/state-file.ts'
import type { StateSchema } from '../../src/state/schema.ts'
import { statesLike } from '../../src/state/testing/arbitrary.ts'
import { TsvmmError } from '../../src/util/errors.ts'
import { migrationTarget } from './migration.ts'
import { refusesWithTypeError, type Target, timed } from './target.ts'

const statesOfEach = 4

const targets = { state: stateTarget, manifest: manifestTarget, migration: migrationTarget }

export type TargetName = keyof typeof targets

export function targetOf(name: TargetName, seed: number): Target {
  return targets[name](seed)
}

/** One byte says which schema, the rest is the body of its record; 0xff: all of them, as the state of a machine. */
function stateTarget(seed: number): Target {
  const all = stateSchemas.flatMap((schema, index) => recordsOf(schema, seed).map(record => ({ index, record })))
  const bodies = all.map(({ index, record }) => Uint8Array.of(index, ...record.body))
  const file = encodeRecords(all.map(({ record }, index) => ({ component: `c${index}`, ...record })))
  return {
    examples: [...bodies, Uint8Array.of(0xff, ...file)],
    judge: timed(bytes => {
      const [which = 0] = bytes
      const body = bytes.slice(1)
      if (which === 0xff) judgeFile(body)
      else judgeBody(stateSchemas[which % stateSchemas.length], body)
    }),
  }
}

function recordsOf(schema: StateSchema<unknown>, seed: number) {
  const shape = schema.shapes.at(-1)
  if (shape === undefined) throw new RangeError(`${schema.id} has no shape`)
  return fc.sample(statesLike(shape, undefined), { seed, numRuns: statesOfEach }).map(state => schema.encode(state))
}

function judgeBody(schema: StateSchema<unknown> | undefined, body: Uint8Array): void {
  if (schema === undefined) return
  let state: unknown
  try {
    state = schema.decode({ id: schema.id, version: schema.version, body })
  } catch (error) {
    if (error instanceof TsvmmError && error.code === 'ERR_STATE_INVALID' && !error.message.includes('\n')) return
    throw error
  }
  // What was taken is of the shape: it can be written, and is the same again.
  const again = schema.encode(state)
  const twice = schema.encode(schema.decode(again))
  if (Buffer.compare(again.body, twice.body) !== 0) throw new Error(`${schema.id} is not what it was`)
}

function judgeFile(bytes: Uint8Array): void {
  refusesWithTypeError(() => decodeRecords(bytes))
}

function manifestTarget(): Target {
  const size = { bytes: 4096, sha256: 'ab'.repeat(32) }
  const manifest: Manifest = {
    ...{ format: newestFormat, features: [], id: 'id', created: '2026-01-01T00:00:00.000Z' },
    ...{ writer: { name: 'tsvmm', version: '1' }, architecture: 'x86_64' },
    cpu: {
      architecture: 'x86_64',
      ...{ vendor: 'GenuineIntel', family: 6, model: 143, stepping: 8, physicalAddressBits: 46 },
      xsave: { sizeBytes: 832, components: [{ component: 2, offsetBytes: 576, sizeBytes: 256 }] },
      ...{ cpuid: { '0x7.0.ebx': '0xf1bf07ef' }, counts: {}, msrs: { '0x10a': '0x69' } },
    },
    memory: { form: 'image', ranges: [{ guestAddress: 0, sizeBytes: 4096 }] },
    components: [{ name: 'vm', schema: 'kvm-clock', version: 1, bytes: 10 }],
    files: { 'memory.img': { bytes: 4096 }, 'state.bin': size },
  }
  return {
    examples: [manifest, { ...manifest, features: [incremental], parent: { path: '../one', id: 'other' } }].map(
      formatManifest,
    ),
    judge: timed(bytes => {
      refusesWithTypeError(() => parseManifest(bytes))
      const value = objectOf(bytes)
      if (value !== undefined)
        refusesWithTypeError(() => parseManifest(formatManifest(parseManifest(sealManifest(value)))))
    }),
  }
}

/** What somebody could give a digest. */
function objectOf(bytes: Uint8Array): object | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString())
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}
