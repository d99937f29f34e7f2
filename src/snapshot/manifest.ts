import * as z from 'zod/mini'
import { cpuSchema } from '../machine/cpu-fingerprint.ts'
import { TsvmmError } from '../util/errors.ts'
import { describeIssue, printable, seldomChecked } from '../util/issues.ts'
import { digestOf } from './digest.ts'

/** What a snapshot of another format would be misread as. */
export const newestFormat = 1
/** Files of a snapshot; which of the images there is depends on its form. */
export const snapshotFiles = {
  manifest: 'manifest.json',
  config: 'config.json',
  state: 'state.bin',
  index: 'memory.index',
  image: 'memory.img',
  zstd: 'memory.zst',
  /** Only where the machine was restored on demand. */
  prefetch: 'memory.prefetch',
} as const

const size = z.number().check(z.int(), z.gte(0), z.lte(Number.MAX_SAFE_INTEGER))
const text = z.string().check(z.minLength(1), z.maxLength(4096))
const digest = z.string().check(z.regex(/^[0-9a-f]{64}$/))

/** Stands for the digest of a manifest in what that is the digest of. */
const noDigest = '0'.repeat(64)

const diskFile = z.string().check(z.regex(/^disk[0-9]{1,4}\.img$/))

/** Keys that are unknown here are no harm: what a reader must know of stands in `features`. */
const manifestSchema = z.object({
  format: z.literal(newestFormat),
  /** Of the whole text, with zeros where it stands itself: nothing else would tell that a bit of it has changed. */
  digest,
  /** What a reader must know beyond the format; a name that it does not know is a reason to refuse. */
  features: z.array(text),
  /** Of this snapshot alone. */
  id: text,
  created: text,
  writer: z.object({ name: text, version: text }),
  architecture: z.enum(['x86_64', 'aarch64']),
  /** That the guest was given. */
  cpu: cpuSchema,
  /** The snapshot that has the memory that this one leaves out; its path counts from the directory of this one. */
  parent: z.optional(z.object({ path: text, id: text })),
  memory: z.object({
    form: z.enum(['image', 'zstd']),
    ranges: z.array(z.object({ guestAddress: size, sizeBytes: size })).check(z.minLength(1), z.maxLength(4096)),
  }),
  /** Disks as they were when the machine was saved, by the id of the device. */
  disks: z.optional(z.array(z.object({ id: text, file: diskFile })).check(z.maxLength(1024))),
  components: z.array(z.object({ name: text, schema: text, version: size, bytes: size })),
  /** By name: how long each file is, and the digest of those that are read as a whole. */
  files: z.record(z.string(), z.object({ bytes: size, sha256: z.optional(digest) })),
})

export type Manifest = Omit<z.output<typeof manifestSchema>, 'digest'>

/** Features that snapshots can have and this release knows. */
export const incremental = 'incremental'
/** Its disks must not be taken from elsewhere without a word. */
export const withDisks = 'disks'
const knownFeatures: readonly string[] = [incremental, withDisks]

/**
 * Throws TypeError with a reason in one line for what is no manifest, one that is not as it was written, or one of a format or
 * with a feature unknown here.
 */
export function parseManifest(bytes: Uint8Array): Manifest {
  const value = parseJson(bytes)
  const format: unknown = Reflect.get(Object(value), 'format')
  if (typeof format === 'number' && format > newestFormat) {
    throw new TypeError(`format ${format} is newer than ${newestFormat}, the newest that is known here`)
  }
  const result = z.safeParse(manifestSchema, value, seldomChecked)
  if (!result.success) {
    const [issue] = result.error.issues
    if (issue === undefined) throw new TypeError('is not valid')
    const { path, reason } = describeIssue(issue)
    throw new TypeError(path.length === 0 ? reason : `${path.join('.')}: ${reason}`)
  }
  const { digest: found, ...manifest } = result.data
  if (!isDigestOf(bytes, found)) throw new TypeError('it is not what was written: its digest differs')
  const unknown = manifest.features.find(feature => !knownFeatures.includes(feature))
  if (unknown !== undefined) throw new TypeError(`it uses ${printable(unknown)}, which is not known here`)
  return manifest
}

export function formatManifest(manifest: Manifest): Uint8Array<ArrayBuffer> {
  return sealManifest(manifest)
}

/** The text of whatever is to be taken for a manifest, with the digest of it. */
export function sealManifest(content: object): Uint8Array<ArrayBuffer> {
  const text = `${JSON.stringify({ ...content, digest: noDigest }, undefined, 2)}\n`
  return Uint8Array.from(Buffer.from(text.replace(noDigest, digestOf(Buffer.from(text)))))
}

/** Whether `found` is in the bytes, and the digest of what they are with zeros in its first place. */
function isDigestOf(bytes: Uint8Array, found: string): boolean {
  const text = Buffer.from(bytes).toString('latin1')
  return text.includes(found) && digestOf(Buffer.from(text.replace(found, noDigest), 'latin1')) === found
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new TypeError('is not JSON', { cause })
  }
}

/** The architectures that snapshots are told apart by. Throws ERR_NOT_SUPPORTED. */
export function hostArchitecture(): Manifest['architecture'] {
  if (process.arch === 'x64') return 'x86_64'
  if (process.arch === 'arm64') return 'aarch64'
  throw new TsvmmError('ERR_NOT_SUPPORTED', { what: `a host of architecture ${process.arch}` })
}
