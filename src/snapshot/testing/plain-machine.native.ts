import { parseVmConfig, type VmConfigInput } from '../../config/vm-config.ts'
import { Kvm, type KvmVirtualMachine } from '../../hypervisor/kvm.native.ts'
import { createRamImageWriter, type RamSource, ramFromLayers } from '../../memory/ram-image.native.ts'
import type { RamRestoreMode } from '../../memory/ram-image.ts'
import { RamPager } from '../../memory/ram-pager.native.ts'
import { SnapshotLayers } from '../layers.ts'
import { Lineage } from '../lineage.ts'
import type { LiveReport } from '../live.ts'
import type { Manifest } from '../manifest.ts'
import { readPrefetch } from '../prefetch.ts'
import { saveMachine } from '../save.ts'
import type { SnapshotOptions } from '../write.ts'

const plain = {
  ...{ shared: false, hugePageBytes: 0, mergeable: false, prefault: false, thp: false, reserve: true },
}
/** `merged` memory cannot be write-protected. */
const kinds = { plain, shared: { ...plain, shared: true }, merged: { ...plain, mergeable: true } }
/** Neither range is whole spans of 256 pages. */
const ranges = [
  { guestAddress: 0, sizeBytes: 300 * 4096 },
  { guestAddress: 0x1_0000_0000, sizeBytes: 500 * 4096 },
] as const

export const plainPages = 800

interface Moments {
  readonly beforePause?: () => void
  readonly afterPause?: () => void
  readonly onLive?: (report: LiveReport) => void
  readonly disks?: VmConfigInput['disks']
}

/** A virtual machine that is nothing but memory, for tests of how that is saved and restored. */
export class PlainMachine implements Disposable {
  readonly vm: KvmVirtualMachine
  readonly #lineage: Lineage
  /** Of a machine restored on demand. */
  readonly pager: RamPager | undefined

  private constructor(vm: KvmVirtualMachine, source: RamSource, shown?: string) {
    this.vm = vm
    this.pager = source instanceof RamPager ? source : undefined
    this.#lineage = new Lineage(vm.dirtyPages, shown)
  }

  static async create(
    kind: keyof typeof kinds = 'plain',
    source: RamSource = {},
    shown?: string,
  ): Promise<PlainMachine> {
    const options = kinds[kind]
    const kvm = Kvm.open()
    const vm = kvm.createVm(() => {})
    kvm.close()
    let offset = 0
    for (const { guestAddress, sizeBytes } of ranges) {
      const at = offset
      vm.addRam(guestAddress, sizeBytes, options, () => source.mappingOf?.(at, sizeBytes, options))
      offset += sizeBytes
    }
    await source.fill?.(vm.memory)
    return new PlainMachine(vm, source, shown)
  }

  static async restore(path: string, mode: RamRestoreMode, onFailure = unexpected): Promise<PlainMachine> {
    await using layers = await SnapshotLayers.open(path)
    const shown = mode !== 'copy' ? layers.newest.manifest.id : undefined
    const prefetch = await readPrefetch(layers.newest)
    const source =
      mode === 'ondemand' ? new RamPager(layers.all, { prefetch }, onFailure) : ramFromLayers(layers.all, mode, 2)
    return await PlainMachine.create('plain', source, shown)
  }

  /**
   * `beforePause` is called at the last moment at which the machine runs, `afterPause` at the first at which it runs again;
   * `onLive` as a
   * SnapshotSource's.
   */
  save(
    path: string,
    snapshotOptions: SnapshotOptions,
    { beforePause, afterPause, onLive, disks = [] }: Moments = {},
  ): Promise<Manifest> {
    const { memory, dirtyPages } = this.vm
    const { pager } = this
    const ram = {
      touchedPages: () => pager?.touchedPages(),
      ranges: memory.ranges,
      dirtyPages,
      createImageWriter: (writerOptions: Parameters<typeof createRamImageWriter>[1]) =>
        createRamImageWriter(memory, writerOptions),
    }
    const source = {
      describeConfig: () => parseVmConfig({ payload: { kernel: '/nowhere' }, disks }),
      components: [],
      ram,
      lineage: this.#lineage,
      describeCpu: () => ({ architecture: 'aarch64' }) as const,
      ...(onLive && { onLive }),
      whilePaused: async <T>(action: () => Promise<T>) => {
        beforePause?.()
        try {
          return await action()
        } finally {
          afterPause?.()
        }
      },
    }
    return saveMachine(source, path, snapshotOptions)
  }

  write(page: number, bytes: Uint8Array): void {
    this.vm.memory.write(addressOf(page), bytes)
  }

  contents(): Buffer {
    return Buffer.concat(ranges.map(({ guestAddress, sizeBytes }) => this.vm.memory.read(guestAddress, sizeBytes)))
  }

  [Symbol.dispose](): void {
    this.vm.close()
    this.pager?.close()
  }
}

function unexpected(reason: string): void {
  throw new Error(reason)
}

function addressOf(page: number): number {
  const [low, high] = ranges
  const offset = page * 4096
  return offset < low.sizeBytes ? offset : high.guestAddress + offset - low.sizeBytes
}
