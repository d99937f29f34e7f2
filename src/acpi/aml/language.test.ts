import test from 'ava'
import { concatenate } from '../../util/bytes.ts'
import { table } from '../table.ts'
import { recompile } from '../testing/iasl.ts'
import { type Aml, buffer, integer, string, uuid } from './encoding.ts'
import * as expressions from './expressions.ts'
import * as objects from './objects.ts'
import * as resources from './resources.ts'

/** ACPICA's disassembler is the judge: what it reads, and that its compiler writes the same bytes. */
function read(...terms: Aml[]): { source: string; errors: readonly string[]; isSame: boolean } {
  const bytes = table('DSDT', 6, 'TEST', concatenate(terms))
  const { source, errors, bytes: again } = recompile('DSDT', bytes)
  return { source, errors, isSame: Buffer.compare(again.subarray(36), bytes.subarray(36)) === 0 }
}

const { local, argument } = expressions
const [a, b, c] = [local(0), local(1), local(2)]

test('expressions read as what they are called', t => {
  const e = expressions
  const statements: [Aml, string][] = [
    [e.add(a, b, c), 'Local2 = (Local0 + Local1)'],
    [e.subtract(a, b, c), 'Local2 = (Local0 - Local1)'],
    [e.multiply(a, b, c), 'Local2 = (Local0 * Local1)'],
    [e.divide(a, b, c, local(3)), 'Divide (Local0, Local1, Local2, Local3)'],
    [e.modulo(a, b, c), 'Local2 = (Local0 % Local1)'],
    [e.shiftLeft(a, b, c), 'Local2 = (Local0 << Local1)'],
    [e.shiftRight(a, b, c), 'Local2 = (Local0 >> Local1)'],
    [e.and(a, b, c), 'Local2 = (Local0 & Local1)'],
    [e.or(a, b, c), 'Local2 = (Local0 | Local1)'],
    [e.xor(a, b, c), 'Local2 = (Local0 ^ Local1)'],
    [e.not(a, c), 'Local2 = ~Local0'],
    [e.increment(a), 'Local0++'],
    [e.decrement(a), 'Local0--'],
    [e.store(e.logicalAnd(a, b), c), 'Local2 = (Local0 && Local1)'],
    [e.store(e.logicalOr(a, b), c), 'Local2 = (Local0 || Local1)'],
    [e.store(e.logicalNot(a), c), 'Local2 = !Local0'],
    [e.store(e.equal(a, b), c), 'Local2 = (Local0 == Local1)'],
    [e.store(e.notEqual(a, b), c), 'Local2 = (Local0 != Local1)'],
    [e.store(e.less(a, b), c), 'Local2 = (Local0 < Local1)'],
    [e.store(e.lessOrEqual(a, b), c), 'Local2 = (Local0 <= Local1)'],
    [e.store(e.greater(a, b), c), 'Local2 = (Local0 > Local1)'],
    [e.store(e.greaterOrEqual(a, b), c), 'Local2 = (Local0 >= Local1)'],
    [e.store(e.sizeOf(a), c), 'Local2 = SizeOf (Local0)'],
    [e.store(e.dereference(e.index(a, e.one)), c), 'Local2 = DerefOf (Local0 [One])'],
    [e.store(argument(6), c), 'Local2 = Arg6'],
  ]
  const assigned = [a, b, local(3)].map(target => e.store(e.zero, target))
  const body = [...assigned, ...statements.map(([aml]) => aml)]
  const { source, errors, isSame } = read(objects.method('TEST', { argumentCount: 7 }, ...body))
  t.deepEqual(errors, [])
  t.true(isSame)
  for (const [, text] of statements) t.true(source.includes(text), text)
})

test('statements nest and methods are called with their parameters', t => {
  const e = expressions
  const { source, errors, isSame } = read(
    objects.mutex('BLCK', 3),
    objects.device('DEV0', objects.name('_ADR', integer(0))),
    objects.method('CALL', { argumentCount: 2, isSerialized: true }, e.returnValue(e.add(argument(0), argument(1)))),
    objects.method(
      'TEST',
      { argumentCount: 1 },
      e.store(e.zero, a),
      e.acquire('BLCK'),
      e.whileTrue(
        e.less(a, integer(32)),
        e.ifThen(e.equal(a, argument(0)), e.notify('\\DEV0', 3), e.leaveLoop),
        e.otherwise(e.store(e.call('CALL', a, e.one), a)),
        e.notifyWith('DEV0', a),
      ),
      e.release('BLCK'),
    ),
  )
  t.deepEqual(errors, [])
  t.true(isSame)
  t.regex(source, /Mutex \(BLCK, 0x03\)/)
  t.regex(source, /Method \(CALL, 2, Serialized\)/)
  t.regex(source, /Acquire \(BLCK, 0xFFFF\)\s+While \(\(Local0 < 0x20\)\)/)
  t.regex(
    source,
    /If \(\(Local0 == Arg0\)\)\s+\{\s+Notify \(\\DEV0, 0x03\)[^\n]*\s+Break\s+\}\s+Else\s+\{\s+Local0 = CALL \(Local0, One\)/,
  )
  t.regex(source, /Notify \(DEV0, Local0\)\s+\}\s+Release \(BLCK\)/)
})

test('data, regions and fields keep their layout', t => {
  const { source, errors, isSame } = read(
    objects.name('DATA', objects.packageOf(integer(7), string('text'), objects.packageOf())),
    objects.name('GUID', uuid('e5c937d0-3553-4d7a-9117-ea4d19c3434d')),
    objects.operationRegion('REGN', 'io', 0x510, 16),
    objects.field('REGN', { access: 'doubleWord', update: 'preserve', isLocked: true }, [
      { name: 'SELE', bits: 32 },
      { bits: 64 },
      { name: 'BIT0', bits: 1 },
    ]),
    objects.method(
      'TEST',
      {},
      expressions.store(buffer(new Uint8Array(15)), a),
      objects.createByteField(a, integer(0), 'FLD0'),
      objects.createWordField(a, integer(1), 'FLD1'),
      objects.createDWordField(a, integer(3), 'FLD2'),
      objects.createQWordField(a, integer(7), 'FLD3'),
      expressions.returnValue(objects.variablePackage(expressions.reference('BIT0'), integer(1))),
    ),
  )
  t.deepEqual(errors, [])
  t.true(isSame)
  t.regex(source, /OperationRegion \(REGN, SystemIO, 0x0510, 0x10\)/)
  t.regex(source, /Field \(REGN, DWordAcc, Lock, Preserve\)\s+\{\s+SELE, +32,\s+Offset \(0x0C\),\s+BIT0, +1/)
  for (const [kind, at] of [
    ['Byte', 'Zero'],
    ['Word', 'One'],
    ['DWord', '0x03'],
    ['QWord', '0x07'],
  ]) {
    t.regex(source, new RegExp(`Create${kind}Field \\(Local0, ${at}, FLD\\d\\)`))
  }
})

test('resources read as what they describe', t => {
  const r = resources
  const { source, errors, isSame } = read(
    objects.device(
      'DEV0',
      objects.name('_ADR', integer(0)),
      objects.name(
        '_CRS',
        r.resourceTemplate(
          r.ioPorts(0x3f8, 8),
          r.irq(4, 5),
          r.interrupt([40, 41], { isEdge: false, isActiveLow: true }),
          r.memory32Fixed(0xe800_0000, 0x10_0000, false),
          r.addressSpace('bus', 2, { first: 0, last: 255 }),
          r.addressSpace('io', 4, { first: 0, last: 0xffff }),
          r.addressSpace('memory', 8, { first: 2 ** 46 - 2 ** 20, last: 2 ** 46 - 1 }, true),
        ),
      ),
    ),
  )
  t.deepEqual(errors, [])
  t.true(isSame)
  t.regex(source, /IRQNoFlags \(\)\s+\{4,5\}/)
  t.regex(source, /Interrupt \(ResourceConsumer, Level, ActiveLow, Exclusive, ,, \)\s+\{\s+0x00000028,\s+0x00000029,/)
  t.regex(source, /Memory32Fixed \(ReadOnly,\s+0xE8000000,[^\n]*\s+0x00100000,/)
  t.regex(source, /DWordIO \(ResourceProducer/)
  t.regex(source, /QWordMemory \(ResourceConsumer[^)]*0x00003FFFFFF00000/)
})

test('what ACPICA has to say of a table comes through', t => {
  const bothIds = [objects.name('_HID', string('ACPI0007')), objects.name('_ADR', integer(0))]
  const { warnings } = recompile('DSDT', table('DSDT', 6, 'TEST', objects.device('\\_SB.DEV0', ...bothIds)))
  t.regex(warnings.join('\n'), /Multiple types/)
})
