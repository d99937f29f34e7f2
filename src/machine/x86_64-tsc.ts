import type { Vcpu } from '../hypervisor/hypervisor.ts'
import { readMsrs, timeStampCounter, writeMsrs } from '../hypervisor/x86_64/msrs.ts'
import { saved } from '../state/carried.ts'
import type { Component } from '../state/component.ts'
import { TsvmmError } from '../util/errors.ts'
import type { GuestTime } from './virtual-machine.ts'
import { type SavedTsc, x86TscState } from './x86_64-tsc-state.ts'

const modulo = (value: bigint) => BigInt.asUintN(64, value)

/**
 * The time stamp counters of all vCPUs. They stand still with the clock: a guest that compares both (Linux does) finds them
 * in step, however long it was paused. In the list they stand before the vCPUs, which run once they are set.
 *
 * They are moved by their offsets, all by the same amount, so that they stay as far from each other as they were. A write of
 * the MSR would not do: KVM takes one that is near to what it expects for the attempt to bring counters together.
 */
export class X86TimeStampCounters implements Component {
  readonly name = '__tsc'
  readonly state = saved({ schema: x86TscState, save: () => this.#save(), load: state => this.#load(state) })
  readonly #time: GuestTime
  readonly #keepsRate: boolean
  readonly #vcpus: Vcpu[] = []
  /** Where they stand while the machine is paused: as they were read, or loaded. */
  #stopped: { readonly tsc: SavedTsc; readonly readAtNs: bigint | undefined } | undefined

  /** Where `keepsRate` is false, loaded counters run at the rate of this host. */
  constructor(time: GuestTime, { keepsRate = true }: { readonly keepsRate?: boolean } = {}) {
    this.#time = time
    this.#keepsRate = keepsRate
  }

  add(vcpu: Vcpu): void {
    this.#vcpus.push(vcpu)
  }

  /** Read now: on a host whose counters are not in step KVM lets those of vCPUs that do not run stand still by itself. */
  async pause(): Promise<void> {
    this.#stopped ??= this.#read()
  }

  /** Only while paused: they go on as if they had run for so long, as the clock does. */
  skip(ns: bigint): void {
    if (this.#stopped === undefined) return
    const { tsc, readAtNs } = this.#stopped
    this.#stopped = { tsc: { ...tsc, stoppedAt: modulo(tsc.stoppedAt + this.#ticks(ns)) }, readAtNs }
  }

  /** The clock went on a moment ago: it is resumed first of all. */
  resume(): void {
    if (this.#stopped === undefined) return
    this.#goOnFrom(this.#save())
    this.#stopped = undefined
  }

  reset(): void {}
  async close(): Promise<void> {}

  #read(): { tsc: SavedTsc; readAtNs: bigint } {
    const readAtNs = this.#time.hostNs()
    const [first] = this.#vcpus
    if (first === undefined) return { tsc: { kilohertz: 0, stoppedAt: 0n, aheadOfFirst: [] }, readAtNs }
    const stoppedAt = readCounter(first)
    const offsets = this.#vcpus.map(vcpu => vcpu.tscOffset() ?? 0n)
    // Read once each: of a counter that stands still it moves.
    const [base = 0n] = offsets
    const aheadOfFirst = offsets.map(offset => modulo(offset - base))
    return { tsc: { kilohertz: first.tscKilohertz(), stoppedAt, aheadOfFirst }, readAtNs }
  }

  /** The clock stops a moment after they were read. */
  #save(): SavedTsc {
    const { tsc, readAtNs } = this.#stopped ?? this.#read()
    if (readAtNs === undefined) return tsc
    return { ...tsc, stoppedAt: modulo(tsc.stoppedAt + this.#ticks(this.#time.stoppedAtNs - readAtNs)) }
  }

  #load(state: SavedTsc): void {
    const { kilohertz, aheadOfFirst } = state
    if (aheadOfFirst.length !== this.#vcpus.length) {
      const reason = `it was saved with ${aheadOfFirst.length} vCPUs and has ${this.#vcpus.length}`
      throw new TsvmmError('ERR_STATE_INVALID', { component: this.name, reason })
    }
    for (const vcpu of this.#keepsRate ? this.#vcpus : []) {
      if (kilohertz !== 0 && kilohertz !== vcpu.tscKilohertz()) vcpu.setTscKilohertz(kilohertz)
    }
    this.#stopped = { tsc: state, readAtNs: undefined }
  }

  #goOnFrom({ stoppedAt, aheadOfFirst }: SavedTsc): void {
    const [first] = this.#vcpus
    if (first === undefined) return
    const wanted = stoppedAt + this.#ticks(this.#time.hostNs() - this.#time.wentOnAtNs)
    const offset = first.tscOffset()
    const moved = offset === undefined ? undefined : offset + wanted - readCounter(first)
    for (const [index, vcpu] of this.#vcpus.entries()) {
      const ahead = aheadOfFirst[index] ?? 0n
      if (moved !== undefined) vcpu.setTscOffset(modulo(moved + ahead))
      else writeMsrs(vcpu, new Map([[timeStampCounter, modulo(wanted + ahead)]]))
    }
  }

  #ticks(ns: bigint): bigint {
    return (ns * BigInt(this.#vcpus[0]?.tscKilohertz() ?? 0)) / 1_000_000n
  }
}

function readCounter(vcpu: Vcpu): bigint {
  return readMsrs(vcpu, Uint32Array.of(timeStampCounter)).get(timeStampCounter) ?? 0n
}
