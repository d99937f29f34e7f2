import type { Vcpu } from '../hypervisor/hypervisor.ts'
import {
  bootMsrs,
  type EntryRegisters,
  enterFlatProtectedMode,
  entryRegs,
  wireLocalInterrupts,
} from '../hypervisor/x86_64/entry-state.ts'
import { readMsrs, writeMsrs } from '../hypervisor/x86_64/msrs.ts'
import { formatRegisters } from '../hypervisor/x86_64/register-dump.ts'
import { addressMap } from '../platform/x86_64/address-map.ts'
import { saved } from '../state/carried.ts'
import type { Component } from '../state/component.ts'
import { readUint } from '../util/bytes.ts'
import { TsvmmError } from '../util/errors.ts'
import { type SavedX86Vcpu, x86VcpuState } from './x86_64-vcpu-state.ts'

/** What makes up the power-on state, in the order in which KVM wants it written. */
const powerOnFiles = ['mp-state', 'sregs', 'regs', 'xcrs', 'xsave', 'debugregs', 'lapic', 'events'] as const
const timeStampCounter = 0x10
/** Its timer is armed by the write: after the counter that it compares with, and the LAPIC that it interrupts. */
const timeStampDeadline = 0x6e0

export interface X86VcpuOptions {
  readonly index: number
  readonly vcpu: Vcpu
  readonly cpuid: Uint8Array<ArrayBuffer>
  /** MSRs that belong to a vCPU's state. */
  readonly msrIndices: Uint32Array
  readonly affinity: readonly number[] | undefined
}

/** One vCPU: parked and resumed with the machine, and brought back to its power-on state by a reset. */
export class X86Vcpu implements Component {
  readonly name: string
  readonly state = saved({ schema: x86VcpuState, save: () => this.#save(), load: state => this.#load(state) })
  readonly index: number
  readonly #vcpu: Vcpu
  readonly #msrIndices: Uint32Array
  readonly #powerOn: readonly { readonly file: string; readonly bytes: Uint8Array }[]
  readonly #powerOnMsrs: ReadonlyMap<number, bigint>
  #cpuid: Uint8Array<ArrayBuffer>

  constructor(options: X86VcpuOptions) {
    const { index, vcpu } = options
    this.name = `vcpu${index}`
    this.index = index
    this.#vcpu = vcpu
    this.#msrIndices = options.msrIndices
    this.#cpuid = options.cpuid
    vcpu.setCpuid(options.cpuid)
    if (options.affinity !== undefined) vcpu.setAffinity(options.affinity)
    vcpu.setMsrs(
      Uint32Array.from(bootMsrs, ([msr]) => msr),
      BigUint64Array.from(bootMsrs, ([, value]) => value),
    )
    const lapic = vcpu.getRegisters('lapic')
    wireLocalInterrupts(lapic)
    vcpu.setRegisters('lapic', lapic)
    this.#powerOn = powerOnFiles.map(file => ({ file, bytes: vcpu.getRegisters(file) }))
    // The counter goes on through a reset, as it does on hardware that guests of today know.
    this.#powerOnMsrs = readMsrs(
      vcpu,
      options.msrIndices.filter(msr => msr !== timeStampCounter),
    )
  }

  /** Only the first vCPU enters the kernel; the others wait for its start-up message. */
  enter(entry: EntryRegisters): void {
    const sregs = this.#vcpu.getRegisters('sregs')
    enterFlatProtectedMode(sregs, addressMap.gdt, addressMap.idt)
    this.#vcpu.setRegisters('sregs', sregs)
    this.#vcpu.setRegisters('regs', entryRegs(entry))
  }

  describeRegisters(): string {
    return formatRegisters(this.#vcpu.getRegisters('regs'), this.#vcpu.getRegisters('sregs'))
  }

  injectNmi(): void {
    this.#vcpu.injectNmi()
  }

  async pause(): Promise<void> {
    await this.#vcpu.park()
    this.#vcpu.notifyPaused()
  }

  resume(): void {
    this.#vcpu.run(this.name)
  }

  reset(): void {
    // What KVM refuses could not have been changed either.
    writeMsrs(this.#vcpu, this.#powerOnMsrs)
    for (const { file, bytes } of this.#powerOn) this.#setRegisters(file, bytes)
  }

  /** Out of the guest, before the devices that it uses go; the virtual machine joins the thread later. */
  async close(): Promise<void> {
    await this.#vcpu.park()
  }

  #save(): SavedX86Vcpu {
    const vcpu = this.#vcpu
    // First: a start-up message that is still to be taken becomes part of the registers (KVM_GET_MP_STATE).
    const mpState = vcpu.getRegisters('mp-state')
    return {
      cpuid: this.#cpuid,
      tscKilohertz: vcpu.tscKilohertz(),
      mpState,
      regs: vcpu.getRegisters('regs'),
      sregs: vcpu.getRegisters('sregs'),
      xcrs: vcpu.getRegisters('xcrs'),
      xsave: vcpu.getRegisters('xsave'),
      debugregs: vcpu.getRegisters('debugregs'),
      lapic: vcpu.getRegisters('lapic'),
      events: vcpu.getRegisters('events'),
      msrs: Array.from(readMsrs(vcpu, this.#msrIndices), ([index, value]) => ({ index, value })),
    }
  }

  #load(state: SavedX86Vcpu): void {
    const vcpu = this.#vcpu
    this.#cpuid = state.cpuid
    vcpu.setCpuid(state.cpuid)
    if (state.tscKilohertz !== 0) vcpu.setTscKilohertz(state.tscKilohertz)
    const msrs = new Map(state.msrs.map(({ index, value }) => [index, value]))
    const deadline = msrs.get(timeStampDeadline)
    msrs.delete(timeStampDeadline)
    this.#setRegisters('mp-state', state.mpState)
    this.#setRegisters('sregs', state.sregs)
    this.#setRegisters('regs', state.regs)
    this.#setRegisters('xcrs', state.xcrs)
    this.#setRegisters('xsave', state.xsave)
    this.#setRegisters('debugregs', state.debugregs)
    requireMsrs(this.name, vcpu, msrs)
    this.#setRegisters('lapic', state.lapic)
    if (deadline !== undefined) requireMsrs(this.name, vcpu, new Map([[timeStampDeadline, deadline]]))
    this.#setRegisters('events', state.events)
  }

  #setRegisters(file: string, bytes: Uint8Array): void {
    // Without XSAVE there are no extended control registers, and KVM refuses even none.
    if (file === 'xcrs' && readUint(bytes, 0, 4) === 0n) return
    this.#vcpu.setRegisters(file, bytes)
  }
}

/** Throws ERR_STATE_INVALID where the host refuses a value and has not got it anyway. */
function requireMsrs(component: string, vcpu: Vcpu, values: ReadonlyMap<number, bigint>): void {
  const refused = writeMsrs(vcpu, values)
  const kept = readMsrs(vcpu, Uint32Array.from(refused.keys()))
  for (const [index, value] of refused) {
    if (kept.get(index) === value) continue
    const reason = `this host cannot set MSR 0x${index.toString(16)} to 0x${value.toString(16)}`
    throw new TsvmmError('ERR_STATE_INVALID', { component, reason })
  }
}
