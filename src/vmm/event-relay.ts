import type { MachineEvents } from '../machine/build.ts'
import type { TsvmmError } from '../util/errors.ts'

/** A machine is built before there is a Vm that hears of it: what it tells goes to that one as soon as it is there. */
export class EventRelay implements MachineEvents {
  #target: MachineEvents | undefined
  #lost: TsvmmError | undefined

  bind(target: MachineEvents): void {
    this.#target = target
  }

  /** Why its memory was lost before there was a Vm. */
  get lost(): TsvmmError | undefined {
    return this.#lost
  }

  powerOff(): void {
    this.#target?.powerOff()
  }

  reset(): void {
    this.#target?.reset()
  }

  crash(error: TsvmmError, report: string): void {
    this.#target?.crash(error, report)
  }

  memoryLost(error: TsvmmError): void {
    if (this.#target === undefined) this.#lost = error
    else this.#target.memoryLost(error)
  }

  debugCode(code: number, elapsedSeconds: number): void {
    this.#target?.debugCode(code, elapsedSeconds)
  }

  needsReset(device: string, reason: string): void {
    this.#target?.needsReset(device, reason)
  }

  deviceRemoved(id: string): void {
    this.#target?.deviceRemoved(id)
  }

  diskFault(device: string, reason: string): void {
    this.#target?.diskFault(device, reason)
  }

  quit(): void {
    this.#target?.quit()
  }
}
