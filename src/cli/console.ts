import { vmInfoSchema } from '../api/schemas.ts'
import { TerminalChardev } from '../backends/terminal-chardev.ts'
import { TsvmmError } from '../util/errors.ts'
import { seldomChecked } from '../util/issues.ts'
import type { MachineEntry } from '../vmm/registry.native.ts'
import { type ChosenLocal, type ConsoleDevice, consoleDevices } from './local-commands.ts'
import { type FoundMachine, findMachine } from './machines.ts'
import { invalid } from './options.ts'
import { consolesOf } from './registration.ts'
import { askApi } from './remote.ts'
import { openPlace, type RemoteConsole, type RemoteHandlers } from './remote-console.ts'

/** Connects standard input and output with a machine, until the person leaves it or it ends. Returns the exit code. */
export async function runConsole(chosen: ChosenLocal): Promise<number> {
  const wanted = deviceOf(chosen.options['port'])
  const machine = findMachine('console', chosen)
  const place = placeOf(await consolesAt(machine), wanted)
  if (place === undefined && machine.socket === undefined) {
    const what = wanted ?? 'the machine'
    throw new TsvmmError('ERR_CONSOLE', {
      reason: `${what} is not to be connected with: --api-socket, pty or socket=PATH would let you`,
    })
  }
  const { promise: left, resolve: leave, reject } = Promise.withResolvers<void>()
  const hasPerson = process.env['TSVMM_TERMINAL'] === '1'
  const local = new TerminalChardev({ input: process.stdin, output: process.stdout, hasPerson, onEnd: leave })
  process.stdout.on('error', () => leave())
  // It may end before anybody waits for that.
  left.catch(() => {})
  try {
    const handlers: RemoteHandlers = {
      onBytes: bytes => local.write(bytes),
      onEnd: error => (error === undefined ? leave() : reject(error)),
    }
    const remote =
      place === undefined
        ? await openServed(machine.socket ?? '', wanted, handlers)
        : await openPlace(place[1], handlers)
    if (process.stdin.isTTY)
      console.error(`${place?.[0] ?? wanted ?? 'console'} of ${machine.name}, Ctrl-A x leaves it\r`)
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

function placeOf(consoles: Consoles, wanted: ConsoleDevice | undefined): [ConsoleDevice, string] | undefined {
  for (const device of wanted === undefined ? consoleDevices : [wanted]) {
    const path = consoles[device]
    if (path !== undefined) return [device, path]
  }
  return undefined
}

/** Over a WebSocket; what it takes for that is loaded only then. */
async function openServed(
  socket: string,
  device: ConsoleDevice | undefined,
  handlers: RemoteHandlers,
): Promise<RemoteConsole> {
  const { openServedConsole } = await import('./served-console.ts')
  return await openServedConsole(socket, device, handlers)
}
