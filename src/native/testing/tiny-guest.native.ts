import { addon, type NativeVcpu, type NativeVm, type NativeWindow, type TrapHandlers, type VcpuStop } from '../addon.ts'

/**
 * Instructions of a 16-bit guest as bytes (Intel SDM Vol. 2); ports below 256. `out8` and `undefinedInstruction` are the
 * same in 32 bits.
 */
export const op = {
  /** mov al, value; out port, al */
  out8: (port: number, value: number) => [0xb0, value, 0xe6, port],
  /** mov eax, value; out port, eax */
  out32: (port: number, value: number) => [0x66, 0xb8, ...littleEndian(value, 4), 0x66, 0xe7, port],
  /** in al, port */
  in8: (port: number) => [0xe4, port],
  /** in eax, port */
  in32: (port: number) => [0x66, 0xe5, port],
  /** out port, al and out port, eax: what the last instruction left there */
  outAl: (port: number) => [0xe6, port],
  outEax: (port: number) => [0x66, 0xe7, port],
  /** mov ax, segment; mov ds, ax */
  useSegment: (segment: number) => [0xb8, ...littleEndian(segment, 2), 0x8e, 0xd8],
  /** mov eax, [offset] and mov [offset], eax, in the segment of ds */
  load32: (offset: number) => [0x66, 0xa1, ...littleEndian(offset, 2)],
  store32: (offset: number, value: number) => [
    ...[0x66, 0xc7, 0x06, ...littleEndian(offset, 2)],
    ...littleEndian(value, 4),
  ],
  store8: (offset: number, value: number) => [0xc6, 0x06, ...littleEndian(offset, 2), value],
  /** mov cx, count; then the body; loop back to the body */
  repeat: (count: number, body: readonly number[]) => [
    ...[0xb9, ...littleEndian(count, 2)],
    ...[...body, 0xe2, 0x100 - (body.length + 2)],
  ],
  /** The body for ever. */
  forever: (body: readonly number[]) => [...body, 0xeb, 0x100 - (body.length + 2)],
  /** mov si, offset; mov cx, count; mov dx, port; cld; rep outsb */
  outString: (port: number, offset: number, count: number) => [
    ...[0xbe, ...littleEndian(offset, 2), 0xb9, ...littleEndian(count, 2), 0xba, ...littleEndian(port, 2)],
    ...[0xfc, 0xf3, 0x6e],
  ],
  enableInterrupts: [0xfb],
  /** ud2 */
  undefinedInstruction: [0x0f, 0x0b],
  halt: [0xf4],
  /** hlt; jmp back to it */
  haltForever: [0xf4, 0xeb, 0xfd],
  returnFromInterrupt: [0xcf],
} as const

function littleEndian(value: number, width: number): number[] {
  return Array.from({ length: width }, (_, index) => (value >>> (8 * index)) & 0xff)
}

const ramBytes = 0x8000
const codeAddress = 0x1000
const enableSplitIrqchip = 121

/** Offsets in struct kvm_regs and struct kvm_sregs (arch/x86/include/uapi/asm/kvm.h). */
const regs = { sizeBytes: 144, rip: 128, rflags: 136 } as const
const sregs = { csBase: 0, csSelector: 12, gdtBase: 192, gdtLimit: 200, idtBase: 208, idtLimit: 216, cr0: 224 } as const
/** Where a protected guest has its descriptor tables. */
const tables = { gdt: 0x5000, idt: 0x6000 } as const
/** struct kvm_segment; from its type on come present, dpl, db, s, l, g. */
const segment = { sizeBytes: 24, limit: 8, selector: 12, type: 14 } as const
const codeSegment = 11
const dataSegment = 3
/** cs, ds, es, fs, gs, ss */
const segmentTypes = [codeSegment, dataSegment, dataSegment, dataSegment, dataSegment, dataSegment] as const
const rflagsReserved = 2n

export type Access = { readonly offset: number; readonly width: number; readonly value?: number }

/** A virtual machine with 32 KiB of RAM whose vCPUs run a few hand-made bytes in real mode, and what they did. */
export class TinyGuest {
  readonly vm: NativeVm
  readonly vcpus: NativeVcpu[] = []
  readonly memory = new (addon().GuestMemory)()
  readonly errors: unknown[] = []
  readonly endedInterrupts: number[] = []
  readonly #stops: VcpuStop[] = []
  readonly #devices = new Map<number, Partial<TrapHandlers>>()
  readonly #waiting: (() => void)[] = []
  #nextWindow = 1

  constructor(options: { readonly irqchip?: boolean } = {}) {
    const kvm = new (addon().Kvm)('/dev/kvm')
    this.vm = kvm.createVm()
    kvm.close()
    if (options.irqchip === true) this.vm.enableCapability(enableSplitIrqchip, [24])
    const mapping = new (addon().Mapping)({ sizeBytes: ramBytes, backing: 'anonymous' })
    this.memory.add(0, mapping, 0, ramBytes)
    this.vm.setMemorySlot({ slot: 0, guestAddress: 0, mapping, mappingOffset: 0, sizeBytes: ramBytes })
    mapping.close()
    this.vm.setTrapHandlers(
      {
        read: (id, offset, width) => this.#devices.get(id)?.read?.(id, offset, width) ?? 0,
        write: (id, offset, width, value) => this.#devices.get(id)?.write?.(id, offset, width, value),
        endOfInterrupt: vector => {
          this.endedInterrupts.push(vector)
        },
        stopped: (_, stop) => {
          this.#stops.push(stop)
          this.#wake()
        },
      },
      error => {
        this.errors.push(error)
        this.#wake()
      },
    )
  }

  /** A vCPU that starts at `code`; each has its own page of it. */
  addVcpu(...code: readonly (readonly number[])[]): NativeVcpu {
    const index = this.vcpus.length
    const address = codeAddress + index * 0x1000
    this.memory.write(address, Uint8Array.from(code.flat()))
    const vcpu = this.vm.createVcpu(index)
    this.vcpus.push(vcpu)
    this.enter(vcpu, address)
    return vcpu
  }

  enter(vcpu: NativeVcpu, address: number): void {
    const special = vcpu.getRegisters('sregs')
    const view = new DataView(special.buffer)
    view.setBigUint64(sregs.csBase, 0n, true)
    view.setUint16(sregs.csSelector, 0, true)
    vcpu.setRegisters('sregs', special)
    const general = new Uint8Array(regs.sizeBytes)
    new DataView(general.buffer).setBigUint64(regs.rip, BigInt(address), true)
    new DataView(general.buffer).setBigUint64(regs.rflags, rflagsReserved, true)
    vcpu.setRegisters('regs', general)
  }

  /**
   * Flat 32-bit protected mode. Interrupts of `vector` go to `handler`; without one there is no interrupt table, and the
   * first exception is a triple fault.
   */
  protect(vcpu: NativeVcpu, interrupt?: { readonly vector: number; readonly handler: number }): void {
    const special = vcpu.getRegisters('sregs')
    const view = new DataView(special.buffer)
    for (const [place, type] of segmentTypes.entries()) {
      const base = place * segment.sizeBytes
      view.setUint32(base + segment.limit, 0xffff_ffff, true)
      view.setUint16(base + segment.selector, type === codeSegment ? 8 : 16, true)
      special.set([type, 1, 0, 1, 1, 0, 1], base + segment.type)
    }
    view.setUint16(sregs.idtLimit, 0, true)
    if (interrupt !== undefined) {
      // A flat code segment as selector 8, and an interrupt gate to it (Intel SDM Vol. 3A §3.4.5, §6.11).
      this.memory.write(tables.gdt + 8, Uint8Array.of(0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0))
      const { vector, handler } = interrupt
      this.memory.write(tables.idt + vector * 8, Uint8Array.of(handler & 0xff, handler >> 8, 8, 0, 0, 0x8e, 0, 0))
      view.setBigUint64(sregs.gdtBase, BigInt(tables.gdt), true)
      view.setUint16(sregs.gdtLimit, 31, true)
      view.setBigUint64(sregs.idtBase, BigInt(tables.idt), true)
      view.setUint16(sregs.idtLimit, 0x7ff, true)
    }
    view.setUint8(sregs.cr0, view.getUint8(sregs.cr0) | 1)
    vcpu.setRegisters('sregs', special)
  }

  instructionPointer(vcpu: NativeVcpu): number {
    return Number(new DataView(vcpu.getRegisters('regs').buffer).getBigUint64(regs.rip, true))
  }

  run(): void {
    for (const [index, vcpu] of this.vcpus.entries()) vcpu.run(`vcpu${index}`)
  }

  /** A window whose every access traps unless `spans` say otherwise. */
  map(
    space: 'pio' | 'mmio',
    address: number,
    options: {
      readonly sizeBytes?: number
      readonly bytes?: Uint8Array<ArrayBuffer>
      readonly spans?: Parameters<NativeVm['mapWindow']>[3]
      readonly read?: (offset: number, width: number) => number
      readonly write?: (offset: number, value: number, width: number) => void
    },
  ): NativeWindow {
    const bytes = options.bytes ?? new Uint8Array(options.sizeBytes ?? 1)
    const spans = options.spans ?? [{ offset: 0, lengthBytes: bytes.length, read: 'trap', write: 'trap' }]
    const id = this.#nextWindow++
    this.#devices.set(id, {
      read: (_, offset, width) => options.read?.(offset, width) ?? 0,
      write: (_, offset, width, value) => options.write?.(offset, value, width),
    })
    return this.vm.mapWindow(space, address, bytes, spans, id)
  }

  /** A port that takes down what is written to it, and lets one wait for that. */
  recordPort(port: number): { readonly values: number[]; until(count: number): Promise<void> } {
    const values: number[] = []
    this.map('pio', port, {
      sizeBytes: 4,
      write: (_, value) => {
        values.push(value)
        this.#wake()
      },
    })
    return { values, until: count => this.#until(() => values.length >= count) }
  }

  async stop(): Promise<VcpuStop> {
    await this.#until(() => this.#stops.length > 0)
    const stop = this.#stops.shift()
    if (stop === undefined) throw new Error('unreachable: there was a stop')
    return stop
  }

  async failure(): Promise<unknown> {
    await this.#until(() => this.errors.length > 0)
    return this.errors[0]
  }

  async park(): Promise<void> {
    await Promise.all(this.vcpus.map(vcpu => vcpu.park()))
  }

  close(): void {
    this.vm.close()
    this.memory.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  async #until(isReached: () => boolean): Promise<void> {
    while (!isReached()) {
      await new Promise<void>(resolve => this.#waiting.push(resolve))
    }
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}
