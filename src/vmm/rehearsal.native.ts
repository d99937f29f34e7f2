import type { VmConfigInput } from '../config/vm-config.ts'
import { forgetAddon } from '../native/addon.ts'
import { standInGlobals } from './rehearsal-globals.ts'
import { RehearsalGuest, type RehearsalHandlers } from './rehearsal-guest.ts'
import { Vmm } from './vmm.ts'

/**
 * Boots a machine on nothing, so that the code of a boot is in a startup snapshot in the form that V8 has made of it to run it: to
 * read and compile it takes a fifth of the time to a guest's first instruction. Kernel and disks are there.
 */
export async function rehearseBoot(config: VmConfigInput): Promise<void> {
  using _globals = standInGlobals()
  const { dlopen } = process
  const guest = new RehearsalGuest()
  process.dlopen = (module: object) => {
    Reflect.set(module, 'exports', standIn(guest))
  }
  process.env['TSVMM_ADDON'] = 'stand-in'
  try {
    await using vmm = new Vmm()
    await vmm.create(config)
    await vmm.boot()
    guest.boots()
  } finally {
    process.dlopen = dlopen
    delete process.env['TSVMM_ADDON']
    forgetAddon()
  }
}

const bytes = (length: number) => new Uint8Array(length)
const nothing = async () => []
const longestFile = 4096

/** What callers cannot do without, by the name of the member; every other call answers with nothing. */
const answers: Readonly<Record<string, unknown>> = {
  fd: -1,
  fds: [],
  isTrackingDirtyPages: false,
  checkExtension: () => longestFile,
  // KVM's leaf 0 and the one of address sizes: what every CPU has.
  supportedCpuid: () => cpuid([0, 0x16], [1, 0], [7, 0], [0x8000_0000, 0x8000_0008], [0x8000_0008, 0x3028]),
  msrIndices: () => Uint32Array.of(0x10, 0x174, 0xc000_0080),
  featureMsrIndices: () => Uint32Array.of(0x10a),
  featureMsrs: (indices: Uint32Array) => new BigUint64Array(indices.length),
  getMsrs: (indices: Uint32Array) => new BigUint64Array(indices.length),
  getRegisters: () => bytes(longestFile),
  tscKilohertz: () => 1_000_000,
  clock: () => bytes(48),
  mac: () => bytes(6),
  read: (_address: number, length: number) => bytes(length),
  probeDisk: () => ({ sizeBytes: 2 ** 20, logicalBlockBytes: 512, discard: true, writeZeroes: true }),
  lockFile: () => true,
  isPending: () => false,
  drain: () => false,
  exitCounters: () => ({}),
  loadFile: nothing,
  park: nothing,
  stop: nothing,
}

/** struct kvm_cpuid_entry2: function, index, flags, EAX and what follows. */
function cpuid(...leaves: readonly (readonly [leaf: number, eax: number])[]): Uint8Array {
  const words = leaves.flatMap(([leaf, eax]) => [leaf, 0, 0, eax, 0, 0, 0, 0, 0, 0])
  return new Uint8Array(Uint32Array.from(words).buffer)
}

/** The addon, its classes, and what they make: all of it one and the same. */
function standIn(guest: RehearsalGuest): object {
  // biome-ignore lint/complexity/useArrowFunction: what is to be constructed must be a function of this kind
  const it: object = new Proxy(function () {}, {
    apply: () => it,
    construct: () => it,
    get: (_, member) => {
      // What can be awaited would be, for ever.
      if (typeof member === 'symbol' || member === 'then') return undefined
      return Object.hasOwn(members, member) ? members[member] : it
    },
  })
  const members: Readonly<Record<string, unknown>> = {
    ...answers,
    setTrapHandlers: (handlers: RehearsalHandlers) => guest.hears(handlers),
    mapWindow: (space: string, address: number, { length }: Uint8Array, _spans: unknown, windowId: number) => {
      guest.sees(space, address, length, windowId)
      return it
    },
  }
  return it
}
