import { parseVmConfig } from '../../config/vm-config.ts'
import { Kvm, type KvmVirtualMachine } from '../../hypervisor/kvm.native.ts'
import { createRamImageWriter, type RamSource, ramFromLayers } from '../../memory/ram-image.native.ts'
import { SnapshotLayers } from '../layers.ts'
import { Lineage } from '../lineage.ts'
import type { Manifest } from '../manifest.ts'
import { saveMachine } from '../save.ts'
import type { SnapshotOptions } from '../write.ts'

const options = {
  ...{ shared: false, hugePageBytes: 0, mergeable: false, prefault: false, thp: false, reserve: true },
}
/** Neither range is whole spans of 256 pages. */
const ranges = [
  { guestAddress: 0, sizeBytes: 300 * 4096 },
  { guestAddress: 0x1_0000_0000, sizeBytes: 500 * 4096 },
] as const

export const plainPages = 800

/** A virtual machine that is nothing but memory, for tests of how that is saved and restored. */
export class PlainMachine implements Disposable {
  readonly vm: KvmVirtualMachine
  readonly #lineage: Lineage

  private constructor(vm: KvmVirtualMachine, shown?: string) {
    this.vm = vm
    this.#lineage = new Lineage(vm.dirtyPages, shown)
  }

  static async create(source: RamSource = {}, shown?: string): Promise<PlainMachine> {
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
    return new PlainMachine(vm, shown)
  }

  static async restore(path: string, mode: 'cow' | 'copy'): Promise<PlainMachine> {
    await using layers = await SnapshotLayers.open(path)
    const shown = mode === 'cow' ? layers.newest.manifest.id : undefined
    return await PlainMachine.create(ramFromLayers(layers.all, mode, 2), shown)
  }

  /** `beforePause` is called at the last moment at which the machine runs. */
  save(path: string, snapshotOptions: SnapshotOptions, beforePause = () => {}): Promise<Manifest> {
    const { memory, dirtyPages } = this.vm
    const ram = {
      ranges: memory.ranges,
      dirtyPages,
      createImageWriter: (writerOptions: Parameters<typeof createRamImageWriter>[1]) =>
        createRamImageWriter(memory, writerOptions),
    }
    const source = {
      config: parseVmConfig({ payload: { kernel: '/nowhere' } }),
      components: [],
      ram,
      lineage: this.#lineage,
      describeCpu: () => ({ architecture: 'aarch64' }) as const,
      whilePaused: <T>(action: () => Promise<T>) => {
        beforePause()
        return action()
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
  }
}

function addressOf(page: number): number {
  const [low, high] = ranges
  const offset = page * 4096
  return offset < low.sizeBytes ? offset : high.guestAddress + offset - low.sizeBytes
}
