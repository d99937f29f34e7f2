import test from 'ava'
import fc from 'fast-check'
import { TsvmmError } from '../util/errors.ts'
import { BootFile } from './boot-file.ts'
import { isElf, readElf } from './elf.ts'
import { buildElf, type ElfSketch, word } from './testing/elf-builder.ts'
import { ScratchFiles } from './testing/files.ts'

const machines = [3, 62]
const code = Uint8Array.from({ length: 64 }, (_, index) => index)

function read(contents: Uint8Array) {
  using files = new ScratchFiles()
  using file = BootFile.open(files.write('kernel', contents), 'ERR_KERNEL_OPEN', '--kernel')
  return readElf(file, machines)
}

const sketch = {
  segments: [{ address: 0x10_0000, contents: code, memoryBytes: 0x1000 }],
  notes: [{ contents: word(0x10_0000) }],
} satisfies ElfSketch

for (const bits of [32, 64] as const) {
  test(`segments of a ${bits}-bit ELF are where its program headers say`, t => {
    const { segments } = read(buildElf({ ...sketch, bits, machine: bits === 32 ? 3 : 62 }))
    t.is(segments.length, 1)
    const [segment] = segments
    t.like(segment, { guestAddress: 0x10_0000, fileBytes: 64, memoryBytes: 0x1000 })
  })

  test(`notes of a ${bits}-bit ELF are found by owner and type`, t => {
    const notes = [
      { owner: 'Linux', type: 18, contents: word(1) },
      { owner: 'Xen', type: 2, contents: word(2) },
      { owner: 'Xen', type: 18, contents: word(3) },
    ]
    for (const noteAlignment of [4, 8]) {
      const image = read(buildElf({ ...sketch, bits, notes, noteAlignment }))
      t.deepEqual(image.note('Xen', 18), word(3))
      t.deepEqual(image.note('Linux', 18), word(1))
      t.is(image.note('Xen', 1), undefined)
    }
  })
}

test('segments without memory are none', t => {
  const { segments } = read(buildElf({ ...sketch, segments: [{ address: 0 }, ...sketch.segments] }))
  t.is(segments.length, 1)
})

const segment = sketch.segments[0] ?? { address: 0 }
const refused: readonly { title: string; elf: ElfSketch; says: RegExp }[] = [
  { title: 'for another machine', elf: { ...sketch, machine: 183 }, says: /another architecture/ },
  { title: 'that is no executable', elf: { ...sketch, type: 1 }, says: /not an executable/ },
  { title: 'without segments', elf: { notes: sketch.notes }, says: /nothing to load/ },
  {
    title: 'with more file than memory',
    elf: { ...sketch, segments: [{ ...segment, memoryBytes: 63 }] },
    says: /the segment at 0x100000 is larger in the file than in memory/,
  },
  {
    title: 'with contents behind its end',
    elf: { ...sketch, segments: [{ ...segment, fileOffset: 0x1_0000 }] },
    says: /cut off: the segment at 0x100000 lies beyond the end of the file/,
  },
  {
    title: 'with contents behind all files',
    elf: { ...sketch, segments: [{ ...segment, fileOffset: 2 ** 63 }] },
    says: /lies beyond the end of the file/,
  },
  {
    title: 'beyond all memory',
    elf: { ...sketch, segments: [{ ...segment, address: 2 ** 60, memoryBytes: 2 ** 62 }] },
    says: /is beyond all memory/,
  },
  {
    title: 'with overlapping segments',
    elf: { ...sketch, segments: [segment, { address: 0x10_0fff, contents: code }] },
    says: /the segment at 0x100fff to 0x10103f overlaps another/,
  },
]
for (const { title, elf, says } of refused) {
  test(`an ELF ${title} is refused`, t => {
    t.throws(() => read(buildElf(elf)), { code: 'ERR_KERNEL_FORMAT', message: says })
  })
}

test('an ELF cut off anywhere is refused', t => {
  const whole = buildElf(sketch)
  for (let length = 4; length < whole.length; length += 1) {
    t.throws(() => read(whole.slice(0, length)), { code: 'ERR_KERNEL_FORMAT', message: /cut off/ }, `${length}`)
  }
})

test('more notes than anybody needs are refused', t => {
  const notes = [{ contents: new Uint8Array(64 * 1024) }]
  t.throws(() => read(buildElf({ ...sketch, notes })), { code: 'ERR_KERNEL_FORMAT', message: /65552 bytes of notes/ })
})

test('big-endian ELFs and unknown classes are refused', t => {
  const change = (offset: number, value: number) => {
    const bytes = buildElf(sketch)
    bytes[offset] = value
    return () => read(bytes)
  }
  t.throws(change(5, 2), { code: 'ERR_KERNEL_FORMAT', message: /little-endian/ })
  t.throws(change(4, 3), { code: 'ERR_KERNEL_FORMAT', message: /neither a 32-bit nor a 64-bit/ })
  t.throws(change(54, 55), { code: 'ERR_KERNEL_FORMAT', message: /unknown size/ })
})

test('only the magic makes an ELF', t => {
  t.true(isElf(buildElf(sketch)))
  t.false(isElf(Buffer.from('\x7fEL')))
  t.false(isElf(Buffer.from('ELF\x7f')))
})

test('whatever is in an ELF, it is read or refused by name', t => {
  const whole = buildElf({ ...sketch, segments: [segment, { address: 0x20_0000, contents: code }] })
  using files = new ScratchFiles()
  const change = fc.tuple(fc.nat(whole.length - 1), fc.nat(255))
  const property = fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), changes => {
    const bytes = whole.slice()
    for (const [offset, value] of changes) bytes[offset] = value
    using file = BootFile.open(files.write('k', bytes), 'ERR_KERNEL_OPEN', '--kernel')
    try {
      const { segments, note } = readElf(file, machines)
      note('Xen', 18)
      for (const { fileOffset, fileBytes, memoryBytes } of segments) {
        t.true(fileOffset + fileBytes <= bytes.length && fileBytes <= memoryBytes)
      }
    } catch (error) {
      t.true(error instanceof TsvmmError && error.code === 'ERR_KERNEL_FORMAT', String(error))
    }
  })
  fc.assert(property, { numRuns: 500 })
})
