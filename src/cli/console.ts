import { closeSync, constants, openSync, statSync } from 'node:fs'
import { connect } from 'node:net'
import { ReadStream } from 'node:tty'
import { vmInfoSchema } from '../api/schemas.ts'
import { DescriptorWriter } from '../backends/descriptor-writer.ts'
import { StreamWriter } from '../backends/stream-writer.ts'
import { TerminalChardev } from '../backends/terminal-chardev.ts'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import { seldomChecked } from '../util/issues.ts'
import type { MachineEntry } from '../vmm/registry.native.ts'
import { type ChosenLocal, type ConsoleDevice, consoleDevices } from './local-commands.ts'
import { type FoundMachine, findMachine } from './machines.ts'
import { invalid } from './options.ts'
import { consolesOf } from './registration.ts'
import { askApi } from './remote.ts'

/** The machine's end of a console. */
interface Remote {
  write(bytes: Uint8Array): void
  close(): void
}

interface RemoteHandlers {
  onBytes(bytes: Uint8Array): void
  /** Nobody is there any more. */
  onEnd(): void
}

/** Connects standard input and output with a machine, until the person leaves it or it ends. Returns the exit code. */
export async function runConsole(chosen: ChosenLocal): Promise<number> {
  const wanted = deviceOf(chosen.options['port'])
  const machine = findMachine('console', chosen)
  const [device, path] = placeOf(await consolesAt(machine), wanted)
  const { promise: left, resolve: leave } = Promise.withResolvers<void>()
  const hasPerson = process.env['TSVMM_TERMINAL'] === '1'
  const local = new TerminalChardev({ input: process.stdin, output: process.stdout, hasPerson, onEnd: leave })
  process.stdout.on('error', () => leave())
  try {
    const remote = await open(path, { onBytes: bytes => local.write(bytes), onEnd: leave })
    if (process.stdin.isTTY) console.error(`${device} of ${machine.name}, Ctrl-A x leaves it\r`)
    local.onInput(bytes => remote.write(bytes))
    await left
    remote.close()
  } finally {
    await local.close()
  }
  return 0
}

function deviceOf(given: unknown): ConsoleDevice | undefined {
  if (given === undefined) return undefined
  const device = consoleDevices.find(each => each === given)
  if (device === undefined) throw invalid('--port', `${given} is none of ${consoleDevices.join(', ')}`)
  return device
}

type Consoles = MachineEntry['consoles']

async function consolesAt({ socket, entry }: FoundMachine): Promise<Consoles> {
  if (socket === undefined) return entry?.consoles ?? {}
  const { config } = vmInfoSchema.parse(await askApi(socket, '/vm.info'), seldomChecked)
  return consolesOf(config)
}

function placeOf(consoles: Consoles, wanted: ConsoleDevice | undefined): [ConsoleDevice, string] {
  for (const device of wanted === undefined ? consoleDevices : [wanted]) {
    const path = consoles[device]
    if (path !== undefined) return [device, path]
  }
  const what = wanted ?? 'the machine'
  throw new TsvmmError('ERR_CONSOLE', {
    reason: `${what} is not to be connected with: pty or socket=PATH would let you`,
  })
}

/** A pseudo terminal or a socket. */
async function open(path: string, handlers: RemoteHandlers): Promise<Remote> {
  try {
    return statSync(path).isSocket() ? await openSocket(path, handlers) : openTerminal(path, handlers)
  } catch (cause) {
    throw new TsvmmError('ERR_CONSOLE', { reason: `${path}: ${reasonOf(cause)}` }, { cause })
  }
}

function openSocket(path: string, { onBytes, onEnd }: RemoteHandlers): Promise<Remote> {
  const { promise, resolve, reject } = Promise.withResolvers<Remote>()
  const socket = connect(path)
  const writer = new StreamWriter(socket)
  socket.on('error', reject)
  socket.on('data', onBytes)
  socket.on('close', onEnd)
  socket.on('connect', () =>
    resolve({
      write: bytes => writer.write(bytes),
      close: () => {
        writer.close()
        socket.destroy()
      },
    }),
  )
  return promise
}

/** It is in raw mode already. */
function openTerminal(path: string, { onBytes, onEnd }: RemoteHandlers): Remote {
  const writeFd = openSync(path, constants.O_WRONLY | constants.O_NOCTTY | constants.O_NONBLOCK)
  const writer = new DescriptorWriter(writeFd)
  const input = new ReadStream(openSync(path, constants.O_RDONLY | constants.O_NOCTTY))
  // A pseudo terminal that its machine has closed is an error to read.
  input.on('error', onEnd)
  input.on('close', onEnd)
  input.on('data', onBytes)
  return {
    write: bytes => writer.write(bytes),
    close: () => {
      writer.close()
      closeSync(writeFd)
      input.destroy()
    },
  }
}
