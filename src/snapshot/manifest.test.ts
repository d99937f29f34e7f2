import test from 'ava'
import fc from 'fast-check'
import { formatManifest, type Manifest, parseManifest, sealManifest } from './manifest.ts'

const manifest: Manifest = {
  format: 1,
  features: [],
  id: '9f0c',
  created: '2026-11-23T12:00:00.000Z',
  writer: { name: 'tsvmm', version: '0.1.0' },
  architecture: 'x86_64',
  cpu: {
    architecture: 'x86_64',
    ...{ vendor: 'GenuineIntel', family: 6, model: 143, stepping: 8, physicalAddressBits: 46, tscKilohertz: 2_400_000 },
    xsave: { sizeBytes: 832, components: [{ component: 2, offsetBytes: 576, sizeBytes: 256 }] },
    ...{ cpuid: { '0x7.0.ebx': '0xf1bf07ef' }, counts: {}, msrs: { '0x10a': '0x69' } },
  },
  memory: { form: 'image', ranges: [{ guestAddress: 0, sizeBytes: 4096 }] },
  components: [{ name: 'vm', schema: 'kvm-clock', version: 1, bytes: 32 }],
  files: { 'state.bin': { bytes: 12, sha256: 'ab'.repeat(32) }, 'memory.img': { bytes: 4096 } },
}

const bytesOf = (value: unknown) => Buffer.from(JSON.stringify(value))

test('a manifest is read as it was written', t => {
  t.deepEqual(parseManifest(formatManifest(manifest)), manifest)
})

test('keys of a newer release that need nobody to know them are no harm', t => {
  t.deepEqual(parseManifest(sealManifest({ ...manifest, comment: 'later' })), manifest)
})

test('what cannot be read is said in one line', t => {
  const cases: readonly (readonly [object, string])[] = [
    [{ ...manifest, format: 2 }, 'format 2 is newer than 1, the newest that is known here'],
    [{ ...manifest, features: ['time-travel'] }, 'it uses time-travel, which is not known here'],
    [{ ...manifest, features: ['a\n\u001b[2J'] }, 'it uses a??[2J, which is not known here'],
    [{ ...manifest, architecture: 'sparc' }, 'architecture: must be one of x86_64, aarch64'],
    [{ ...manifest, cpu: undefined }, 'cpu: is missing'],
    [{ ...manifest, cpu: { ...manifest.cpu, vendor: 'a\nb' } }, 'cpu.vendor: is not valid'],
    [{ ...manifest, cpu: { ...manifest.cpu, brand: '\u001b[2J' } }, 'cpu.brand: is not valid'],
    [{ ...manifest, cpu: { ...manifest.cpu, family: -1 } }, 'cpu.family: must be at least 0'],
    [{ ...manifest, cpu: { ...manifest.cpu, physicalAddressBits: 99 } }, 'cpu.physicalAddressBits: must be at most 52'],
    [{ ...manifest, cpu: { ...manifest.cpu, cpuid: { '7.ebx': '0x1' } } }, 'cpu.cpuid.7.ebx: is not valid'],
    [{ ...manifest, cpu: { ...manifest.cpu, msrs: { '0x10a': 'all' } } }, 'cpu.msrs.0x10a: is not valid'],
    [{ ...manifest, memory: { form: 'image', ranges: [] } }, 'memory.ranges: must be at least 1'],
    [{ ...manifest, files: { a: { bytes: -1 } } }, 'files.a.bytes: must be at least 0'],
    [{}, 'format: must be one of 1'],
  ]
  for (const [value, message] of cases)
    t.throws(() => parseManifest(sealManifest(value)), { instanceOf: TypeError, message })
  t.throws(() => parseManifest(bytesOf([])), { message: 'must be of type object' })
  t.throws(() => parseManifest(bytesOf(manifest)), { message: 'digest: is missing' })
  t.throws(() => parseManifest(Buffer.from('{')), { message: 'is not JSON' })
  t.throws(() => parseManifest(Uint8Array.of(0xff)), { message: 'is not JSON' })
})

test('whatever the bytes are, a manifest comes out or a reason', t => {
  const isJudged = (bytes: Uint8Array) => {
    try {
      return parseManifest(bytes).format === 1
    } catch (error) {
      return error instanceof TypeError && !error.message.includes('\n')
    }
  }
  const whole = formatManifest(manifest)
  const isFound = (bytes: Uint8Array) => {
    try {
      return parseManifest(bytes) === undefined
    } catch {
      return true
    }
  }
  for (let place = 0; place < whole.length; place += 1) {
    const bytes = Uint8Array.from(whole)
    bytes[place] = (bytes[place] ?? 0) ^ 1
    t.true(isFound(bytes), `${place}`)
  }
  const flips = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 })
  fc.assert(
    fc.property(flips, each => {
      const bytes = Uint8Array.from(whole)
      for (const [place, value] of each) bytes[place] = value
      return isJudged(bytes)
    }),
    { numRuns: 1_000 },
  )
  fc.assert(fc.property(fc.jsonValue(), value => isJudged(bytesOf(value))))
  t.pass()
})
