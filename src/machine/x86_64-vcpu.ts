import type { Vcpu } from '../hypervisor/hypervisor.ts'
import {
  bootMsrs,
  type EntryRegisters,
  enterFlatProtectedMode,
  entryRegs,
  wireLocalInterrupts,
} from '../hypervisor/x86_64/entry-state.ts'
import { formatRegisters } from '../hypervisor/x86_64/register-dump.ts'
import { addressMap } from '../platform/x86_64/address-map.ts'
import type { Component } from '../state/component.ts'
import { readUint } from '../util/bytes.ts'

/** What makes up the power-on state, in the order in which KVM wants it written. */
const powerOnFiles = ['mp-state', 'sregs', 'regs', 'xcrs', 'xsave', 'debugregs', 'lapic', 'events'] as const
const timeStampCounter = 0x10

export interface X86VcpuOptions {
  readonly index: number
  readonly vcpu: Vcpu
  readonly cpuid: Uint8Array
  /** MSRs that belong to a vCPU's state. */
  readonly msrIndices: Uint32Array
  readonly affinity: readonly number[] | undefined
}

/** One vCPU: parked and resumed with the machine, and brought back to its power-on state by a reset. */
export class X86Vcpu implements Component {
  readonly name: string
  readonly index: number
  readonly #vcpu: Vcpu
  readonly #powerOn: readonly { readonly file: string; readonly bytes: Uint8Array }[]
  readonly #powerOnMsrs: { readonly indices: Uint32Array; readonly values: BigUint64Array }

  constructor(options: X86VcpuOptions) {
    const { index, vcpu } = options
    this.name = `vcpu${index}`
    this.index = index
    this.#vcpu = vcpu
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
    const wanted = options.msrIndices.filter(msr => msr !== timeStampCounter)
    const values = vcpu.getMsrs(wanted)
    this.#powerOnMsrs = { indices: wanted.slice(0, values.length), values }
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
    this.#restoreMsrs()
    for (const { file, bytes } of this.#powerOn) {
      // Without XSAVE there are no extended control registers, and KVM refuses even none.
      if (file === 'xcrs' && readUint(bytes, 0, 4) === 0n) continue
      this.#vcpu.setRegisters(file, bytes)
    }
  }

  /** Out of the guest, before the devices that it uses go; the virtual machine joins the thread later. */
  async close(): Promise<void> {
    await this.#vcpu.park()
  }

  /** One by one: KVM refuses some that it reports, where the guest's CPUID does not have their feature. */
  #restoreMsrs(): void {
    const { indices, values } = this.#powerOnMsrs
    indices.forEach((msr, place) => {
      try {
        this.#vcpu.setMsrs(Uint32Array.of(msr), BigUint64Array.of(values[place] ?? 0n))
      } catch {
        // It could not have been changed either.
      }
    })
  }
}
