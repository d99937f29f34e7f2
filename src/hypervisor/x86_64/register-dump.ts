import {
  controlRegisters,
  generalRegisters,
  kvmRegs,
  kvmSegment,
  kvmSregs,
  segmentNames,
  segmentOffset,
} from './registers.ts'

/**
 * What a person needs to see where a vCPU stopped, from its kvm_regs and kvm_sregs:
 * ```
 * rip 0000000000100000 rsp 0000000000008ff0 flags 0000000000000002
 * rax ...
 * cs  0008 base 0000000000000000 limit ffffffff type b dpl 0 db g
 * ```
 */
export function formatRegisters(regs: Uint8Array, sregs: Uint8Array): string {
  const general = (name: (typeof generalRegisters)[number]) => kvmRegs.read(regs, name)
  const others = generalRegisters.filter(name => !['rip', 'rsp', 'rflags'].includes(name))
  return [
    row([
      ['rip', general('rip')],
      ['rsp', general('rsp')],
      ['flags', general('rflags')],
    ]),
    ...rows(others.map(name => [name, general(name)])),
    ...rows(controlRegisters.map(name => [name === 'apicBase' ? 'apic' : name, kvmSregs.read(sregs, name)])),
    ...segmentNames.map(name => describeSegment(name, sregs)),
    describeTable('gdt', kvmSregs.read(sregs, 'gdtBase'), kvmSregs.read(sregs, 'gdtLimit')),
    describeTable('idt', kvmSregs.read(sregs, 'idtBase'), kvmSregs.read(sregs, 'idtLimit')),
  ].join('\n')
}

type Named = readonly [name: string, value: bigint]

const registersInRow = 4

function rows(registers: readonly Named[]): string[] {
  const lines: string[] = []
  for (let index = 0; index < registers.length; index += registersInRow) {
    lines.push(row(registers.slice(index, index + registersInRow)))
  }
  return lines
}

function row(registers: readonly Named[]): string {
  return registers.map(([name, value]) => `${name.padEnd(3)} ${hex(value, 16)}`).join(' ')
}

function describeSegment(name: (typeof segmentNames)[number], sregs: Uint8Array): string {
  const field = (field: Parameters<typeof kvmSegment.read>[1]) => kvmSegment.read(sregs, field, segmentOffset(name))
  const where = `base ${hex(field('base'), 16)} limit ${hex(field('limit'), 8)}`
  const what = `type ${hex(field('type'), 1)} dpl ${field('dpl')}`
  const flags = (['db', 'l', 'g', 'unusable'] as const).filter(flag => field(flag) !== 0n)
  return [`${name.padEnd(3)} ${hex(field('selector'), 4)}`, where, what, ...flags].join(' ')
}

function describeTable(name: string, base: bigint, limit: bigint): string {
  return `${name}      base ${hex(base, 16)} limit ${hex(limit, 8)}`
}

function hex(value: bigint, digits: number): string {
  return value.toString(16).padStart(digits, '0')
}
