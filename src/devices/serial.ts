import type { Chardev } from '../backends/chardev.ts'
import type { AccessWidth, RegisterWindow, Span } from '../bus/registers.ts'
import type { InterruptLine } from '../interrupts/interrupts.ts'
import type { Component } from '../state/component.ts'

const register = {
  data: 0,
  interruptEnable: 1,
  interruptId: 2,
  lineControl: 3,
  modemControl: 4,
  lineStatus: 5,
  modemStatus: 6,
  scratch: 7,
}
const divisorLatchAccess = 0x80
const enable = { received: 0x01, transmitEmpty: 0x02 } as const
const identification = { none: 0x01, transmitEmpty: 0x02, received: 0x04, fifosOn: 0xc0 } as const
const line = { dataReady: 0x01, overrun: 0x02, transmitEmpty: 0x60 } as const
const modem = { loopback: 0x10, clearToSend: 0x10, dataSetReady: 0x20, ring: 0x40, carrier: 0x80 } as const
const fifoControl = { enable: 0x01, clearReceived: 0x02 } as const
const fifoBytes = 16
/** Input beyond this waits on the host. */
const waitingInputBytes = 4096
/** 115200 baud. */
const powerOnDivisor = 1

interface SerialState {
  interruptEnable: number
  lineControl: number
  modemControl: number
  scratch: number
  divisor: number
  isFifoOn: boolean
  isTransmitInterruptPending: boolean
  /** What the guest can read now, at most `fifoBytes`. */
  received: number[]
}

function powerOnState(): SerialState {
  return {
    interruptEnable: 0,
    lineControl: 0x03,
    modemControl: 0x08,
    scratch: 0,
    divisor: powerOnDivisor,
    isFifoOn: false,
    isTransmitInterruptPending: false,
    received: [],
  }
}

/**
 * 16550A UART (National Semiconductor PC16550D). Transmission is posted: the guest never waits for it and always finds
 * the transmitter empty, so that a boot log costs no round trips. Only what has side effects traps.
 */
export class Serial implements Component, RegisterWindow {
  readonly name: string
  readonly sizeBytes = 8
  readonly bytes = new Uint8Array(8)
  readonly #interrupt: InterruptLine
  readonly #chardev: Chardev
  /** Called when the spans have changed. */
  readonly #onSpans: () => void
  #state = powerOnState()
  #waiting: number[] = []
  #output: number[] = []

  constructor(options: { name: string; interrupt: InterruptLine; chardev: Chardev; onSpans: () => void }) {
    this.name = options.name
    this.#interrupt = options.interrupt
    this.#chardev = options.chardev
    this.#onSpans = options.onSpans
    options.chardev.onInput(input => this.#receive(input))
    this.#refresh()
  }

  get spans(): readonly Span[] {
    return this.#isDivisorLatched() ? divisorSpans : normalSpans
  }

  read(offset: number, _width: AccessWidth): number {
    if (offset === register.data) return this.#takeReceived()
    if (offset === register.interruptId) {
      const value = this.#interruptId()
      if ((value & 0x0f) === identification.transmitEmpty) this.#state.isTransmitInterruptPending = false
      return value
    }
    return this.bytes[offset] ?? 0
  }

  write(offset: number, _width: AccessWidth, value: number): void {
    switch (offset) {
      case register.data:
        this.#transmit(value)
        break
      case register.interruptEnable:
        this.#setInterruptEnable(value & 0x0f)
        break
      case register.interruptId:
        this.#setFifoControl(value)
        break
      case register.lineControl:
        this.#setLineControl(value)
        break
      case register.modemControl:
        this.#state.modemControl = value & 0x1f
        break
    }
    this.#refresh()
  }

  async pause(): Promise<void> {
    this.#flush()
    this.#keepBytes()
  }

  resume(): void {}

  reset(): void {
    this.#state = powerOnState()
    this.#waiting = []
    this.#refresh()
    this.#onSpans()
  }

  async close(): Promise<void> {
    this.#flush()
    await this.#chardev.close()
  }

  /** Registers that the guest writes without a trap live in the bytes until somebody needs them. */
  #keepBytes(): void {
    this.#state.scratch = this.bytes[register.scratch] ?? 0
    if (this.#isDivisorLatched()) this.#state.divisor = (this.bytes[0] ?? 0) | ((this.bytes[1] ?? 0) << 8)
  }

  #isDivisorLatched(): boolean {
    return (this.#state.lineControl & divisorLatchAccess) !== 0
  }

  #isLooped(): boolean {
    return (this.#state.modemControl & modem.loopback) !== 0
  }

  #transmit(value: number): void {
    if (this.#isLooped()) {
      if (this.#state.received.length < fifoBytes) this.#state.received.push(value & 0xff)
      if ((this.#state.interruptEnable & enable.received) !== 0) this.#interrupt.pulse()
    } else {
      // One write to the host for all that comes before JavaScript's turn ends.
      if (this.#output.length === 0) queueMicrotask(() => this.#flush())
      this.#output.push(value & 0xff)
    }
    this.#announceTransmitEmpty()
  }

  #flush(): void {
    if (this.#output.length === 0) return
    const output = Uint8Array.from(this.#output)
    this.#output = []
    this.#chardev.write(output)
  }

  #announceTransmitEmpty(): void {
    if ((this.#state.interruptEnable & enable.transmitEmpty) === 0) return
    if (this.#state.isTransmitInterruptPending) return
    this.#state.isTransmitInterruptPending = true
    this.#interrupt.pulse()
  }

  #setInterruptEnable(value: number): void {
    const added = value & ~this.#state.interruptEnable
    this.#state.interruptEnable = value
    if ((value & enable.transmitEmpty) === 0) this.#state.isTransmitInterruptPending = false
    if ((added & enable.transmitEmpty) !== 0) this.#announceTransmitEmpty()
    if ((added & enable.received) !== 0 && this.#state.received.length > 0) this.#interrupt.pulse()
  }

  #setFifoControl(value: number): void {
    this.#state.isFifoOn = (value & fifoControl.enable) !== 0
    if ((value & fifoControl.clearReceived) === 0) return
    this.#state.received = []
    this.#refill()
  }

  #setLineControl(value: number): void {
    const wasLatched = this.#isDivisorLatched()
    this.#keepBytes()
    this.#state.lineControl = value & 0xff
    if (wasLatched !== this.#isDivisorLatched()) this.#onSpans()
  }

  #receive(input: Uint8Array): void {
    this.#waiting.push(...input)
    this.#refill()
    this.#refresh()
  }

  #takeReceived(): number {
    const value = this.#state.received.shift() ?? 0
    if (this.#state.received.length === 0) this.#refill()
    this.#refresh()
    return value
  }

  #refill(): void {
    const room = (this.#state.isFifoOn ? fifoBytes : 1) - this.#state.received.length
    const wasEmpty = this.#state.received.length === 0
    this.#state.received.push(...this.#waiting.splice(0, Math.max(0, room)))
    this.#chardev.setInputWanted(this.#waiting.length < waitingInputBytes)
    const isNew = wasEmpty && this.#state.received.length > 0
    if (isNew && (this.#state.interruptEnable & enable.received) !== 0) this.#interrupt.pulse()
  }

  #interruptId(): number {
    const fifos = this.#state.isFifoOn ? identification.fifosOn : 0
    const isReceived = this.#state.received.length > 0 && (this.#state.interruptEnable & enable.received) !== 0
    if (isReceived) return fifos | identification.received
    return fifos | (this.#state.isTransmitInterruptPending ? identification.transmitEmpty : identification.none)
  }

  #refresh(): void {
    const { bytes } = this
    if (this.#isDivisorLatched()) {
      bytes[0] = this.#state.divisor & 0xff
      bytes[1] = this.#state.divisor >> 8
    } else {
      bytes[register.interruptEnable] = this.#state.interruptEnable
    }
    bytes[register.lineControl] = this.#state.lineControl
    bytes[register.modemControl] = this.#state.modemControl
    bytes[register.lineStatus] = line.transmitEmpty | (this.#state.received.length > 0 ? line.dataReady : 0)
    bytes[register.modemStatus] = this.#modemStatus()
  }

  /** In loopback the outputs come back as inputs: RTS as CTS, DTR as DSR, OUT1 as RI, OUT2 as DCD. */
  #modemStatus(): number {
    if (!this.#isLooped()) return modem.clearToSend | modem.dataSetReady | modem.carrier
    const outputs = this.#state.modemControl
    const back = (output: number, input: number) => ((outputs & output) !== 0 ? input : 0)
    return (
      back(0x02, modem.clearToSend) |
      back(0x01, modem.dataSetReady) |
      back(0x04, modem.ring) |
      back(0x08, modem.carrier)
    )
  }
}

const commonSpans: readonly Span[] = [
  { offset: register.interruptId, lengthBytes: 1, read: 'trap', write: 'trap' },
  { offset: register.lineControl, lengthBytes: 1, read: 'bytes', write: 'trap' },
  { offset: register.modemControl, lengthBytes: 1, read: 'bytes', write: 'trap' },
  { offset: register.lineStatus, lengthBytes: 1, read: 'bytes', write: 'ignore' },
  { offset: register.modemStatus, lengthBytes: 1, read: 'bytes', write: 'ignore' },
  { offset: register.scratch, lengthBytes: 1, read: 'bytes', write: 'bytes' },
]

const normalSpans: readonly Span[] = [
  { offset: register.data, lengthBytes: 1, read: 'trap', write: 'post' },
  { offset: register.interruptEnable, lengthBytes: 1, read: 'bytes', write: 'trap' },
  ...commonSpans,
]

const divisorSpans: readonly Span[] = [{ offset: 0, lengthBytes: 2, read: 'bytes', write: 'bytes' }, ...commonSpans]
