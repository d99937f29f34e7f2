import type { Chardev } from '../backends/chardev.ts'
import type { AccessWidth, RegisterWindow, Span } from '../bus/registers.ts'
import type { InterruptLine } from '../interrupts/interrupts.ts'
import { saved } from '../state/carried.ts'
import type { Component } from '../state/component.ts'
import { ByteQueue } from '../util/byte-queue.ts'
import { TsvmmError } from '../util/errors.ts'
import { serialState } from './serial-state.ts'
import {
  fifoBytes,
  fifoControl,
  interruptEnable,
  interruptId,
  lineControl,
  lineStatus,
  loopedInputs,
  modemControl,
  modemDeltas,
  modemStatus,
  register,
  triggerLevel,
  uartSpans,
} from './uart-16550.ts'

/** Input beyond this waits in the back end. */
const waitingInputBytes = 4096
/** What the other end of the line, which is always there, shows. */
const steadyInputs = modemStatus.clearToSend | modemStatus.dataSetReady | modemStatus.carrier

interface SerialState {
  interruptEnable: number
  lineControl: number
  modemControl: number
  /** As it was written, with the bits that are left of it; 0 while the FIFOs are off. */
  fifoControl: number
  scratch: number
  divisor: number
  isTransmitInterruptPending: boolean
  /** What the guest can read now, at most `fifoBytes`: the byte, and above it the errors it came with. */
  received: number[]
  /** Overrun and break until the guest has read them in the line status. */
  lineErrors: number
  modemDeltas: number
}

/** Cloud Hypervisor's, so that what a guest finds does not depend on the VMM: 8n1, 9600 baud, OUT2. */
function powerOnState(): SerialState {
  return {
    ...{ interruptEnable: 0, lineControl: 0x03, modemControl: modemControl.out2, fifoControl: 0, scratch: 0 },
    ...{ divisor: 12, isTransmitInterruptPending: false, received: [], lineErrors: 0, modemDeltas: 0 },
  }
}

export interface SerialOptions {
  readonly name: string
  readonly interrupt: InterruptLine
  readonly chardev: Chardev
  /** Called when `spans` have changed. */
  onSpans(): void
}

/**
 * 16550A UART (National Semiconductor PC16550D). The transmitter is as fast as the guest: a byte written is posted, never
 * waited for, and the line status always shows both registers empty, so that a boot log costs no round trips. Reads trap
 * only where they change something: the receiver's buffer, the identification while the transmitter's interrupt is
 * enabled (16 bytes a trap), status registers with bits in them that reading clears.
 *
 * The interrupt is the chip's INTR pin: high while any enabled source is pending. MCR's OUT2 does not gate it.
 */
export class Serial implements Component, RegisterWindow {
  readonly name: string
  readonly state = saved({
    schema: serialState,
    save: () => ({ ...this.#state, received: [...this.#state.received] }),
    load: state => this.#load(state),
  })
  readonly sizeBytes = 8
  readonly bytes = new Uint8Array(8)
  readonly #interrupt: InterruptLine
  readonly #chardev: Chardev
  readonly #onSpans: () => void
  #state = powerOnState()
  #spans: readonly Span[]
  /** Input that the receiver has no room for yet. */
  readonly #waiting = new ByteQueue()
  /** Written by the guest and still to be handed on. */
  #output: number[] = []
  #isTransmitting = false
  #isInputWanted = true
  /** As built: what comes before the machine runs is for the guest that is loaded into it, if one is. */
  #isPaused = true

  constructor({ name, interrupt, chardev, onSpans }: SerialOptions) {
    this.name = name
    this.#interrupt = interrupt
    this.#chardev = chardev
    this.#onSpans = onSpans
    this.#spans = this.#currentSpans()
    this.#refresh()
    chardev.onInput(input => this.#take(input))
    chardev.onBreak?.(() => this.#takeBreak())
  }

  get spans(): readonly Span[] {
    return this.#spans
  }

  read(offset: number, _width: AccessWidth): number {
    this.#finishTransmission()
    const value = this.#readRegister(offset)
    this.#settle()
    return value
  }

  write(offset: number, _width: AccessWidth, value: number): void {
    if (offset === register.data) {
      this.#transmit(value & 0xff)
      return
    }
    this.#finishTransmission()
    if (offset === register.interruptEnable) this.#setInterruptEnable(value & interruptEnable.all)
    else if (offset === register.interruptId) this.#setFifoControl(value)
    else if (offset === register.lineControl) this.#setLineControl(value & 0xff)
    else if (offset === register.modemControl) this.#setModemControl(value & modemControl.all)
    this.#settle()
  }

  async pause(): Promise<void> {
    this.#isPaused = true
    this.#finishTransmission()
    this.#settle()
    this.#keepBytes()
  }

  resume(): void {
    this.#isPaused = false
    this.#settle()
  }

  /** What waits on the host is not the guest's yet and stays. */
  reset(): void {
    this.#finishTransmission()
    this.#state = powerOnState()
    this.bytes[register.scratch] = 0
    this.#settle()
  }

  async close(): Promise<void> {
    this.#finishTransmission()
    await this.#chardev.close()
  }

  #load(state: SerialState): void {
    if ((state.received[0] ?? 0) > 0xff) {
      const reason = 'the byte to be read next has errors that the line status has not'
      throw new TsvmmError('ERR_STATE_INVALID', { component: this.name, reason })
    }
    this.#state = { ...state, received: [...state.received] }
    this.bytes[register.scratch] = state.scratch
    this.#settle()
  }

  #readRegister(offset: number): number {
    const state = this.#state
    if (offset === register.data) return (state.received.shift() ?? 0) & 0xff
    const value = this.bytes[offset] ?? 0
    if (offset === register.interruptId) {
      const id = this.#interruptId()
      if (id === interruptId.transmitEmpty) state.isTransmitInterruptPending = false
      return id | this.#fifosOn()
    }
    if (offset === register.lineStatus) {
      const status = this.#lineStatus()
      state.lineErrors = 0
      return status
    }
    if (offset === register.modemStatus) {
      const status = this.#modemInputs() | state.modemDeltas
      state.modemDeltas = 0
      return status
    }
    return value
  }

  /** Brings registers, interrupt and back-pressure in line with the state. */
  #settle(): void {
    this.#refill()
    this.#refresh()
    // Before the interrupt, which another vCPU may answer at once.
    const spans = this.#currentSpans()
    if (spans !== this.#spans) {
      this.#spans = spans
      this.#onSpans()
    }
    this.#interrupt.setLevel(this.#interruptId() !== interruptId.none)
  }

  #refresh(): void {
    const { bytes } = this
    const state = this.#state
    bytes[register.data] = this.#isDivisorLatched() ? state.divisor & 0xff : 0
    bytes[register.interruptEnable] = this.#isDivisorLatched() ? state.divisor >> 8 : state.interruptEnable
    bytes[register.interruptId] = this.#interruptId() | this.#fifosOn()
    bytes[register.lineControl] = state.lineControl
    bytes[register.modemControl] = state.modemControl
    bytes[register.lineStatus] = this.#lineStatus()
    bytes[register.modemStatus] = this.#modemInputs() | state.modemDeltas
  }

  #currentSpans(): readonly Span[] {
    return uartSpans({
      isDivisorLatched: this.#isDivisorLatched(),
      interruptId: this.#isEnabled(interruptEnable.transmitEmpty),
      lineStatus: this.#state.lineErrors !== 0,
      modemStatus: this.#state.modemDeltas !== 0,
    })
  }

  /** Registers that the guest writes without a trap live in the bytes until somebody needs them. */
  #keepBytes(): void {
    this.#state.scratch = this.bytes[register.scratch] ?? 0
    if (this.#isDivisorLatched()) this.#state.divisor = (this.bytes[0] ?? 0) | ((this.bytes[1] ?? 0) << 8)
  }

  #isDivisorLatched(): boolean {
    return (this.#state.lineControl & lineControl.divisorLatchAccess) !== 0
  }

  #isLooped(): boolean {
    return (this.#state.modemControl & modemControl.loopback) !== 0
  }

  #isEnabled(source: number): boolean {
    return (this.#state.interruptEnable & source) !== 0
  }

  #fifosOn(): number {
    return (this.#state.fifoControl & fifoControl.enable) !== 0 ? interruptId.fifosOn : 0
  }

  /** The source of the highest priority (§8.6). Bytes below the trigger level have timed out by the time anyone looks. */
  #interruptId(): number {
    const { received, lineErrors, isTransmitInterruptPending, modemDeltas: deltas, fifoControl: fifo } = this.#state
    if (lineErrors !== 0 && this.#isEnabled(interruptEnable.lineStatus)) return interruptId.lineStatus
    if (received.length > 0 && this.#isEnabled(interruptEnable.received)) {
      return received.length >= triggerLevel(fifo) ? interruptId.received : interruptId.receiveTimeout
    }
    if (isTransmitInterruptPending) return interruptId.transmitEmpty
    if (deltas !== 0 && this.#isEnabled(interruptEnable.modemStatus)) return interruptId.modemStatus
    return interruptId.none
  }

  #lineStatus(): number {
    const { received, lineErrors } = this.#state
    const hasBreak = (lineErrors & lineStatus.breakCondition) !== 0 || received.some(each => each > 0xff)
    return (
      lineStatus.transmitEmpty |
      (received.length > 0 ? lineStatus.dataReady : 0) |
      lineErrors |
      (hasBreak && this.#fifosOn() !== 0 ? lineStatus.fifoError : 0)
    )
  }

  #modemInputs(): number {
    return this.#isLooped() ? loopedInputs(this.#state.modemControl) : steadyInputs
  }

  #transmit(value: number): void {
    // One write to the host, and one interrupt, for all that comes before JavaScript's turn ends or the guest looks.
    if (!this.#isTransmitting) queueMicrotask(() => this.#endTransmission())
    this.#isTransmitting = true
    this.#state.isTransmitInterruptPending = false
    if (this.#isLooped()) {
      this.#receive(value)
      this.#settle()
    } else {
      this.#output.push(value)
    }
  }

  #endTransmission(): void {
    if (!this.#isTransmitting) return
    // The pin was low for the moment in which the transmitter was busy.
    this.#settle()
    this.#finishTransmission()
    this.#settle()
  }

  #finishTransmission(): void {
    if (!this.#isTransmitting) return
    this.#isTransmitting = false
    this.#state.isTransmitInterruptPending = this.#isEnabled(interruptEnable.transmitEmpty)
    if (this.#output.length === 0) return
    const output = Uint8Array.from(this.#output)
    this.#output = []
    this.#chardev.write(output)
  }

  #setInterruptEnable(value: number): void {
    const isAdded = (value & ~this.#state.interruptEnable & interruptEnable.transmitEmpty) !== 0
    this.#state.interruptEnable = value
    if (isAdded) this.#state.isTransmitInterruptPending = true
    else if (!this.#isEnabled(interruptEnable.transmitEmpty)) this.#state.isTransmitInterruptPending = false
  }

  /** Turning the FIFOs on or off empties them (§8.5). */
  #setFifoControl(value: number): void {
    const isChanged = ((value ^ this.#state.fifoControl) & fifoControl.enable) !== 0
    const isOn = (value & fifoControl.enable) !== 0
    if (isChanged || (isOn && (value & fifoControl.clearReceived) !== 0)) this.#state.received = []
    this.#state.fifoControl = isOn ? value & (fifoControl.enable | fifoControl.trigger) : 0
  }

  #setLineControl(value: number): void {
    this.#keepBytes()
    this.#state.lineControl = value
  }

  #setModemControl(value: number): void {
    const before = this.#modemInputs()
    this.#state.modemControl = value
    this.#state.modemDeltas |= modemDeltas(before, this.#modemInputs())
  }

  #take(input: Uint8Array): void {
    this.#waiting.push(input)
    this.#settle()
  }

  #takeBreak(): void {
    if (this.#isPaused || this.#isLooped()) return
    this.#receive(lineStatus.breakCondition << 8)
    this.#settle()
  }

  #capacity(): number {
    return this.#fifosOn() !== 0 ? fifoBytes : 1
  }

  #refill(): void {
    const { received } = this.#state
    // Loopback cuts the receiver from the line.
    while (!this.#isPaused && !this.#isLooped() && received.length < this.#capacity()) {
      const bytes = this.#waiting.take(this.#capacity() - received.length)
      if (bytes === undefined) break
      received.push(...bytes)
    }
    this.#showErrors()
    const isWanted = !this.#isPaused && this.#waiting.lengthBytes < waitingInputBytes
    if (isWanted === this.#isInputWanted) return
    this.#isInputWanted = isWanted
    this.#chardev.setInputWanted(isWanted)
  }

  /** From the line: without back-pressure a full FIFO loses the new byte, the buffer without FIFO the old one (§8.4). */
  #receive(value: number): void {
    const { received } = this.#state
    if (received.length < this.#capacity()) received.push(value)
    else {
      this.#state.lineErrors |= lineStatus.overrun
      if (this.#fifosOn() === 0) received[0] = value
    }
    this.#showErrors()
  }

  /** The errors of a byte are in the line status from when it is the next to be read. */
  #showErrors(): void {
    const [first] = this.#state.received
    if (first === undefined || first <= 0xff) return
    this.#state.lineErrors |= first >> 8
    this.#state.received[0] = first & 0xff
  }
}
