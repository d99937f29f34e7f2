import type { Vcpu } from '../hypervisor/hypervisor.ts'
import { coreNotes } from '../hypervisor/x86_64/core-notes.ts'
import { type CpuidEntry, decodeCpuid } from '../hypervisor/x86_64/cpuid/entry.ts'
import {
  bootMsrs,
  type EntryRegisters,
  enterFlatProtectedMode,
  entryRegs,
  wireLocalInterrupts,
} from '../hypervisor/x86_64/entry-state.ts'
import { featureMsrIndices } from '../hypervisor/x86_64/feature-msrs.ts'
import { type MsrModifier, modifyMsrs } from '../hypervisor/x86_64/msr-modifiers.ts'
import { readMsrs, timeStampCounter, writeMsrs } from '../hypervisor/x86_64/msrs.ts'
import { formatRegisters } from '../hypervisor/x86_64/register-dump.ts'
import { addressMap } from '../platform/x86_64/address-map.ts'
import { saved } from '../state/carried.ts'
import type { Component } from '../state/component.ts'
import { readNumber, readUint } from '../util/bytes.ts'
import { TsvmmError } from '../util/errors.ts'
import { type SavedX86Vcpu, x86VcpuState } from './x86_64-vcpu-state.ts'

/** What makes up the power-on state, in the order in which KVM wants it written. */
const powerOnFiles = ['mp-state', 'sregs', 'regs', 'xcrs', 'xsave', 'debugregs', 'lapic', 'events'] as const
/** Its timer is armed by the write: once the counter is where it belongs, which is when the machine goes on. */
const timeStampDeadline = 0x6e0
/** IA32_KERNEL_GS_BASE. */
const kernelGsBaseMsr = 0xc000_0102
/** KVM_STATE_NESTED_GUEST_MODE, RUN_PENDING and EVMCS. */
const nestedInUse = 0x7

export interface X86VcpuOptions {
  readonly index: number
  readonly vcpu: Vcpu
  readonly cpuid: Uint8Array<ArrayBuffer>
  /** MSRs that belong to a vCPU's state; its time stamp counter is a component of its own. */
  readonly msrIndices: Uint32Array
  /** Those that say what the CPU has: a reset leaves them as they are. */
  readonly featureMsrs: Uint32Array
  /** What MSRs begin with, other than they do in a CPU of this host. */
  readonly msrModifiers?: readonly MsrModifier[]
  readonly affinity: readonly number[] | undefined
  /** The hypervisor can save a guest that is one itself (KVM_CAP_NESTED_STATE). */
  readonly hasNestedState: boolean
}

/** One vCPU: parked and resumed with the machine, and brought back to its power-on state by a reset. */
export class X86Vcpu implements Component {
  readonly name: string
  readonly state = saved({ schema: x86VcpuState, save: () => this.#save(), load: state => this.#load(state) })
  readonly index: number
  readonly #vcpu: Vcpu
  readonly #msrIndices: Uint32Array
  readonly #hasNestedState: boolean
  readonly #powerOn: readonly { readonly file: string; readonly bytes: Uint8Array }[]
  readonly #powerOnMsrs: Map<number, bigint>
  #cpuid: Uint8Array<ArrayBuffer>
  /** Of a timer that was loaded and is still to be armed. */
  #deadline: bigint | undefined
  #closed: Promise<void> | undefined

  constructor(options: X86VcpuOptions) {
    const { index, vcpu } = options
    this.name = `vcpu${index}`
    this.index = index
    this.#vcpu = vcpu
    // The counter goes on through a reset, as it does on hardware that guests of today know.
    this.#msrIndices = options.msrIndices.filter(msr => msr !== timeStampCounter)
    this.#cpuid = options.cpuid
    this.#hasNestedState = options.hasNestedState
    vcpu.setCpuid(options.cpuid)
    if (options.affinity !== undefined) vcpu.setAffinity(options.affinity)
    vcpu.setMsrs(
      Uint32Array.from(bootMsrs, ([msr]) => msr),
      BigUint64Array.from(bootMsrs, ([, value]) => value),
    )
    if (options.msrModifiers !== undefined) modifyMsrs(vcpu, this.#msrIndices, options.msrModifiers)
    const lapic = vcpu.getRegisters('lapic')
    wireLocalInterrupts(lapic)
    vcpu.setRegisters('lapic', lapic)
    this.#powerOn = powerOnFiles.map(file => ({ file, bytes: vcpu.getRegisters(file) }))
    this.#powerOnMsrs = readMsrs(vcpu, this.#msrIndices)
    for (const index of options.featureMsrs) this.#powerOnMsrs.delete(index)
  }

  /** What the guest was given, also by a snapshot of another host. Only while it is parked. */
  describeCpu(): { cpuid: readonly CpuidEntry[]; msrs: ReadonlyMap<number, bigint> } {
    return { cpuid: decodeCpuid(this.#cpuid), msrs: readMsrs(this.#vcpu, Uint32Array.from(featureMsrIndices)) }
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

  /** Only while it is parked. */
  coreNotes(): Uint8Array {
    const [regs, sregs] = [this.#vcpu.getRegisters('regs'), this.#vcpu.getRegisters('sregs')]
    const kernelGsBase = readMsrs(this.#vcpu, Uint32Array.of(kernelGsBaseMsr)).get(kernelGsBaseMsr) ?? 0n
    return coreNotes(this.index, { regs, sregs, kernelGsBase })
  }

  injectNmi(): void {
    this.#vcpu.injectNmi()
  }

  throttle(percent: number): void {
    this.#vcpu.throttle(percent)
  }

  async pause(): Promise<void> {
    await this.#vcpu.park()
    this.#vcpu.notifyPaused()
  }

  resume(): void {
    // Whoever had it stand still for a moment may come back when the machine has ended.
    if (this.#closed !== undefined) return
    if (this.#deadline !== undefined) requireMsrs(this.name, this.#vcpu, new Map([[timeStampDeadline, this.#deadline]]))
    this.#deadline = undefined
    this.#vcpu.run(this.name)
  }

  reset(): void {
    // What KVM refuses could not have been changed either.
    writeMsrs(this.#vcpu, this.#powerOnMsrs)
    for (const { file, bytes } of this.#powerOn) this.#setRegisters(file, bytes)
  }

  /** Out of the guest, before the devices that it uses go; the virtual machine joins the thread later. */
  close(): Promise<void> {
    this.#closed ??= this.#vcpu.park()
    return this.#closed
  }

  #save(): SavedX86Vcpu {
    const vcpu = this.#vcpu
    // First: a start-up message that is still to be taken becomes part of the registers (KVM_GET_MP_STATE).
    const mpState = vcpu.getRegisters('mp-state')
    return {
      cpuid: this.#cpuid,
      mpState,
      regs: vcpu.getRegisters('regs'),
      sregs: vcpu.getRegisters('sregs'),
      xcrs: vcpu.getRegisters('xcrs'),
      xsave: vcpu.getRegisters('xsave'),
      debugregs: vcpu.getRegisters('debugregs'),
      lapic: vcpu.getRegisters('lapic'),
      events: vcpu.getRegisters('events'),
      ...(this.#hasNestedState ? { nestedState: vcpu.getRegisters('nested-state') } : {}),
      msrs: Array.from(this.#readMsrs(), ([index, value]) => ({ index, value })),
    }
  }

  #load(state: SavedX86Vcpu): void {
    const vcpu = this.#vcpu
    this.#cpuid = state.cpuid
    vcpu.setCpuid(state.cpuid)
    const msrs = new Map(state.msrs.map(({ index, value }) => [index, value]))
    this.#deadline = msrs.get(timeStampDeadline)
    msrs.delete(timeStampDeadline)
    this.#setRegisters('mp-state', state.mpState)
    this.#setRegisters('sregs', state.sregs)
    this.#setRegisters('regs', state.regs)
    this.#setRegisters('xcrs', state.xcrs)
    this.#setRegisters('xsave', state.xsave)
    this.#setRegisters('debugregs', state.debugregs)
    requireMsrs(this.name, vcpu, msrs)
    this.#setNestedState(state.nestedState)
    this.#setRegisters('lapic', state.lapic)
    this.#setRegisters('events', state.events)
  }

  /** Behind the registers and MSRs that turn it on. */
  #setNestedState(bytes: Uint8Array | undefined): void {
    if (bytes === undefined) return
    if (this.#hasNestedState) {
      this.#vcpu.setRegisters('nested-state', bytes)
    } else if ((readNumber(bytes, 0, 2) & nestedInUse) !== 0) {
      const reason = 'its guest runs guests of its own, and this host cannot take them over'
      throw new TsvmmError('ERR_STATE_INVALID', { component: this.name, reason })
    }
  }

  #readMsrs(): Map<number, bigint> {
    const values = readMsrs(this.#vcpu, this.#msrIndices)
    return this.#deadline === undefined ? values : values.set(timeStampDeadline, this.#deadline)
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
