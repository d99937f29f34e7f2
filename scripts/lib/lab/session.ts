import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { type LabMachine, qemuArguments } from './machine.ts'

export type Outcome =
  | { readonly kind: 'exited'; readonly code: number }
  | { readonly kind: 'timeout' }
  | { readonly kind: 'interrupted'; readonly signal: NodeJS.Signals }
  | { readonly kind: 'failed'; readonly reason: string }

export interface SessionLimits {
  readonly startSeconds: number
  readonly commandSeconds: number
  /** Aborted with the signal's name when the user wants it to end. */
  readonly interrupt: AbortSignal
}

export interface SessionOutput {
  readonly stdout: NodeJS.WritableStream
  readonly stderr: NodeJS.WritableStream
  /** Where the machine has a port for it. */
  readonly stdin: NodeJS.ReadableStream
  ready(uptime: string): void
}

/** Runs the machine until its command has ended, or until that cannot happen any more. QEMU is gone when it returns. */
export async function runSession(machine: LabMachine, limits: SessionLimits, output: SessionOutput): Promise<Outcome> {
  const control = new ControlPort(output.ready)
  const ports = [
    await listen(machine.ports.control, socket => control.read(socket)),
    await listen(machine.ports.stdout, socket => socket.pipe(output.stdout, { end: false })),
    await listen(machine.ports.stderr, socket => socket.pipe(output.stderr, { end: false })),
  ]
  const { stdin } = machine.ports
  if (stdin !== undefined) ports.push(await listen(stdin, socket => output.stdin.pipe(socket)))
  // Should this process be killed without a chance to clean up, the kernel takes QEMU along.
  const qemu = spawn('setpriv', ['--pdeathsig', 'KILL', machine.emulator, ...qemuArguments(machine)], {
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  })
  try {
    return await outcome(qemu, control, limits, machine)
  } finally {
    await kill(qemu)
    // What QEMU had passed on is read to its end first.
    await Promise.all(ports.map(port => port.closed()))
  }
}

async function outcome(
  qemu: ChildProcess,
  control: ControlPort,
  limits: SessionLimits,
  machine: LabMachine,
): Promise<Outcome> {
  let complaints = ''
  qemu.stderr?.on('data', (chunk: Buffer) => {
    complaints += chunk
  })
  using timers = new Timers()
  const died = once(qemu, 'close').then(([code, signal]) => {
    if (control.exitCode !== undefined) return { kind: 'exited', code: control.exitCode } as const
    return { kind: 'failed', reason: causeOfDeath(machine.consoleLog, complaints, code ?? signal) } as const
  })
  const failedToStart = once(qemu, 'error').then(
    ([error]) => ({ kind: 'failed', reason: `cannot run QEMU: ${error.message}` }) as const,
  )
  const interrupted = new Promise<Outcome>(resolve => {
    const report = () => resolve({ kind: 'interrupted', signal: limits.interrupt.reason })
    if (limits.interrupt.aborted) report()
    limits.interrupt.addEventListener('abort', report)
  })
  const slow = timers.after(limits.startSeconds, () => control.isReady, {
    kind: 'failed',
    reason: `the lab did not start within ${limits.startSeconds} s; its console ends with:\n${tail(machine.consoleLog)}`,
  })
  const overdue = timers.after(limits.commandSeconds, () => false, { kind: 'timeout' })
  const finished = control.done.then(code => ({ kind: 'exited', code }) as const)
  // Awaited here: the timers must not end before the race does.
  return await Promise.race([finished, died, failedToStart, interrupted, slow, overdue])
}

/** One line for a lab that ended by itself, from what its kernel or QEMU said last. */
export function causeOfDeath(consoleLog: string, complaints: string, status: number | string | null): string {
  const console = existsSync(consoleLog) ? readFileSync(consoleLog, 'latin1') : ''
  const panic = /Kernel panic - not syncing: .*/.exec(console)?.[0]
  if (panic !== undefined) return `the lab's kernel died: ${panic.trim()}`
  // QEMU warns at length about features that its emulation lacks.
  const last = complaints
    .split('\n')
    .filter(line => line !== '' && !line.includes('warning: TCG doesn'))
    .at(-1)
  return `QEMU ended (${status}) before the command did${last === undefined ? '' : `: ${last}`}`
}

/** What the lab's init says, a line each: "ready UPTIME", "exit CODE", and "done" once its disk is unmounted. */
class ControlPort {
  readonly done: Promise<number>
  exitCode: number | undefined
  isReady = false
  readonly #ready: (uptime: string) => void
  #finish: (code: number) => void = () => {}
  #text = ''

  constructor(ready: (uptime: string) => void) {
    this.#ready = ready
    this.done = new Promise(resolve => {
      this.#finish = resolve
    })
  }

  read(socket: Socket): void {
    socket.setEncoding('utf8').on('data', chunk => {
      const lines = (this.#text + chunk).split('\n')
      this.#text = lines.pop() ?? ''
      for (const line of lines) this.#line(line)
    })
  }

  #line(line: string): void {
    const [verb = '', value = ''] = line.split(' ')
    if (verb === 'ready') {
      this.isReady = true
      this.#ready(value)
    } else if (verb === 'exit') {
      this.exitCode = Number(value)
    } else if (verb === 'done' && this.exitCode !== undefined) {
      this.#finish(this.exitCode)
    }
  }
}

class Timers implements Disposable {
  readonly #timers: NodeJS.Timeout[] = []

  /** Resolves after that time, except where it no longer matters. */
  after(seconds: number, passed: () => boolean, value: Outcome): Promise<Outcome> {
    return new Promise(resolve => {
      this.#timers.push(setTimeout(() => passed() || resolve(value), seconds * 1000))
    })
  }

  [Symbol.dispose](): void {
    for (const timer of this.#timers) clearTimeout(timer)
  }
}

interface Port {
  closed(): Promise<void>
}

async function listen(path: string, connected: (socket: Socket) => void): Promise<Port> {
  let ended: Promise<unknown> = Promise.resolve()
  const server: Server = createServer(socket => {
    ended = new Promise(resolve => socket.on('close', resolve))
    socket.on('error', () => {})
    connected(socket)
  })
  server.listen(path)
  await once(server, 'listening')
  return {
    async closed() {
      await ended
      server.close()
    },
  }
}

async function kill(qemu: ChildProcess): Promise<void> {
  if (qemu.pid === undefined || qemu.exitCode !== null || qemu.signalCode !== null) return
  const gone = once(qemu, 'exit')
  qemu.kill('SIGKILL')
  await gone
}

function tail(file: string): string {
  return existsSync(file) ? readFileSync(file, 'latin1').trimEnd().split('\n').slice(-10).join('\n') : '(nothing)'
}
