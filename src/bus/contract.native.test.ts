import { addon } from '../native/addon.ts'
import type { AddressSpace } from './bus.ts'
import { type BusUnderTest, busContract } from './contract.ts'
import { NativeBus } from './native-bus.native.ts'
import type { AccessWidth } from './registers.ts'

const ramBytes = 0x8000
const code = 0x1000
const donePort = 0x80
/** Offsets in struct kvm_regs and struct kvm_sregs (arch/x86/include/uapi/asm/kvm.h). */
const regs = { sizeBytes: 144, rip: 128, rflags: 136 } as const
const sregs = { csBase: 0, csSelector: 12 } as const
const rflagsReserved = 2n

function littleEndian(value: number, width: number): number[] {
  return Array.from({ length: width }, (_, index) => Math.floor(value / 256 ** index) % 256)
}

/** One access by a 16-bit guest (Intel SDM Vol. 2): the value read is in eax. */
function instruction(space: AddressSpace, address: number, width: AccessWidth, value?: number): number[] {
  const prefix = width === 4 ? [0x66] : []
  const wide = width === 1 ? 0 : 1
  if (space === 'pio') {
    // mov eax, value; out port, al or (e)ax; or in
    if (value === undefined) return [...prefix, 0xe4 + wide, address]
    return [0x66, 0xb8, ...littleEndian(value, 4), ...prefix, 0xe6 + wide, address]
  }
  // mov ax, segment; mov ds, ax; xor eax, eax
  const segment = [0xb8, ...littleEndian(Math.floor(address / 16), 2), 0x8e, 0xd8, 0x66, 0x31, 0xc0]
  const offset = littleEndian(address % 16, 2)
  // mov al or (e)ax, [offset]; or mov [offset], value
  if (value === undefined) return [...segment, ...prefix, 0xa0 + wide, ...offset]
  return [...segment, ...prefix, 0xc6 + wide, 0x06, ...offset, ...littleEndian(value, width)]
}

/** A bus of the addon, and a vCPU that makes one access at a time in real mode. */
function open(): BusUnderTest {
  const kvm = new (addon().Kvm)('/dev/kvm')
  const vm = kvm.createVm()
  kvm.close()
  const memory = new (addon().GuestMemory)()
  const mapping = new (addon().Mapping)({ sizeBytes: ramBytes, backing: 'anonymous' })
  memory.add(0, mapping, 0, ramBytes)
  vm.setMemorySlot({ slot: 0, guestAddress: 0, mapping, mappingOffset: 0, sizeBytes: ramBytes })
  mapping.close()
  const bus = new NativeBus(vm)
  let done = Promise.withResolvers<number>()
  vm.setTrapHandlers(
    {
      read: (id, offset, width) => bus.read(id, offset, width),
      write: (id, offset, width, value) => bus.write(id, offset, width, value),
      endOfInterrupt: () => {},
      stopped: (_, stop) => done.reject(new Error(`the vCPU stopped: ${stop.kind}`)),
    },
    error => done.reject(error),
  )
  bus.map('pio', donePort, {
    ...{ name: 'done', sizeBytes: 4, bytes: new Uint8Array(4), read: () => 0 },
    spans: [{ offset: 0, lengthBytes: 4, read: 'bytes', write: 'trap' }],
    write: (_offset, _width, value) => done.resolve(value),
  })
  const vcpu = vm.createVcpu(0)
  const run = async (instructions: readonly number[]) => {
    const special = vcpu.getRegisters('sregs')
    const view = new DataView(special.buffer)
    view.setBigUint64(sregs.csBase, 0n, true)
    view.setUint16(sregs.csSelector, 0, true)
    vcpu.setRegisters('sregs', special)
    const general = new Uint8Array(regs.sizeBytes)
    new DataView(general.buffer).setBigUint64(regs.rip, BigInt(code), true)
    new DataView(general.buffer).setBigUint64(regs.rflags, rflagsReserved, true)
    vcpu.setRegisters('regs', general)
    // out port, eax; then jmp to itself
    memory.write(code, Uint8Array.from([...instructions, 0x66, 0xe7, donePort, 0xeb, 0xfe]))
    done = Promise.withResolvers()
    vcpu.run('vcpu0')
    const value = await done.promise
    await vcpu.park()
    return value
  }
  return {
    bus,
    read: (space, address, width) => run(instruction(space, address, width)),
    write: async (space, address, width, value) => {
      await run(instruction(space, address, width, value))
    },
    settle: async () => {},
    close: async () => {
      vm.close()
      memory.close()
    },
  }
}

busContract('bus of the addon', open)
