import { readFileSync } from 'node:fs'
import { type RequestOptions, request } from 'node:http'
import { resolve } from 'node:path'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import type { ChosenCommand, RemoteCommand } from './commands.ts'
import { invalid, type OptionKeys, type OptionObject, parseOption, withFirstKey } from './options.ts'
import type { Progress } from './progress-bar.ts'
import { describeAnswer } from './remote-text.ts'
import { splitDescriptors } from './request-fds.ts'
import { path as pathKind } from './values.ts'

export interface RemoteFlags {
  readonly apiSocket?: string
}

/** Sends a command to the program that serves the API and prints its answer. Returns the exit code. */
export async function runCommand({ command, argument, isJson }: ChosenCommand, flags: RemoteFlags): Promise<number> {
  const socketPath = pathOf(command.name, flags.apiSocket)
  const given = argument ?? (command.isOptional === true ? '' : undefined)
  const message = given === undefined ? {} : messageOf(command, given)
  const text = granted(command.name, await sendWatched(socketPath, command, message))
  if (text === '') return 0
  console.log(isJson ? text : describeAnswer(command.name, parse(text)))
  return 0
}

/** What the program that serves the API at `socketPath` answers to a GET of `path`. Throws ERR_API_SOCKET, ERR_API_ANSWER. */
export async function askApi(socketPath: string, path: string): Promise<unknown> {
  return parse(granted(path.slice(1), await send(socketPath, { method: 'GET', path }, {})))
}

function granted(asked: string, { status, text }: Answer): string {
  if (status >= 200 && status < 400) return text
  throw new TsvmmError('ERR_API_ANSWER', { path: asked, reason: reasonIn(status, text) })
}

export function pathOf(command: string, socket: string | undefined): string {
  if (socket === undefined) throw new TsvmmError('ERR_USAGE', { message: `the command ${command} needs --api-socket` })
  if (socket.startsWith('fd=')) throw invalid('--api-socket', 'a command needs a path')
  return socket.startsWith('path=') ? socket.slice('path='.length) : socket
}

/** What goes with a command. */
interface Message {
  readonly body?: Buffer
  readonly fds?: readonly number[]
}

function messageOf({ name, keys }: RemoteCommand, argument: string): Message {
  if (keys === undefined) return { body: readBody(argument) }
  const { body, fds } = splitDescriptors(parseOption(name, withFirstKey(argument, keys), keys))
  if (fds.length > mostDescriptors) throw invalid(name, `at most ${mostDescriptors} descriptors go with a request`)
  return { body: Buffer.from(JSON.stringify(withAbsolutePaths({ ...body }, keys))), fds }
}

/** The program that serves the API may be somewhere else. */
function withAbsolutePaths(body: OptionObject, keys: OptionKeys): OptionObject {
  const paths = new Set(Object.values(keys).flatMap(({ field, kind }) => (kind === pathKind ? [field] : [])))
  const absolute = Object.entries(body).map(([field, value]) => {
    const isPath = paths.has(field) && typeof value === 'string' && !/^[a-z][a-z0-9+.-]*:/i.test(value)
    return [field, isPath ? resolve(value) : value]
  })
  return Object.fromEntries(absolute)
}

function readBody(file: string): Buffer {
  try {
    return readFileSync(file === '-' ? 0 : file)
  } catch (cause) {
    throw new TsvmmError('ERR_API_REQUEST', { reason: `${file}: ${reasonOf(cause)}` }, { cause })
  }
}

interface Answer {
  readonly status: number
  readonly text: string
}

/** In one message (SCM_MAX_FD). */
const mostDescriptors = 253

/** Node's own sockets cannot send descriptors. */
async function connectionWith(
  socketPath: string,
  fds: readonly number[],
): Promise<Pick<RequestOptions, 'agent' | 'createConnection'>> {
  if (fds.length === 0) return { agent: false }
  const { DescriptorSocket } = await import('../api/descriptor-socket.native.ts')
  return {
    createConnection: () => {
      const socket = DescriptorSocket.connect(socketPath, 'tsvmm')
      socket.sendWithNext(fds)
      return socket
    },
  }
}

async function send(
  socketPath: string,
  { method, path }: Pick<RemoteCommand, 'method' | 'path'>,
  { body, fds = [] }: Message,
): Promise<Answer> {
  const connection = await connectionWith(socketPath, fds)
  const { promise, resolve, reject } = Promise.withResolvers<Answer>()
  const fail = (cause: Error) => {
    reject(new TsvmmError('ERR_API_SOCKET', { path: socketPath, reason: connectReason(cause) }, { cause }))
  }
  const headers = { 'Content-Length': body?.length ?? 0 }
  const options = { socketPath, method, path: `/api/v1${path}`, headers, ...connection }
  const sent = request(options, response => {
    const chunks: Buffer[] = []
    response.on('data', (chunk: Buffer) => chunks.push(chunk))
    response.on('error', fail)
    response.on('end', () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }))
  })
  sent.on('error', fail)
  sent.end(body)
  return promise
}

/** Shows how far a snapshot or a migration has come, where somebody looks at it. */
async function sendWatched(socketPath: string, command: RemoteCommand, message: Message): Promise<Answer> {
  const answer = send(socketPath, command, message)
  const kind = process.stderr.isTTY ? watchable[command.path] : undefined
  if (kind === undefined) return await answer
  const { watchedAnswer } = await import('./watched-answer.ts')
  const { ProgressBar } = await import('./progress-bar.ts')
  const ask = async () => (await send(socketPath, { method: 'GET', path: kind.path }, {})).text
  return await watchedAnswer(answer, ask, await kind.reader(), new ProgressBar(kind.label))
}

const watchable: Readonly<
  Record<string, { label: string; path: string; reader(): Promise<(body: unknown) => Progress> }>
> = {
  '/vm.snapshot': {
    ...{ label: 'saving', path: '/tsvmm.snapshot-progress' },
    reader: async () => (await import('./snapshot-progress.ts')).readSnapshotProgress,
  },
  '/vm.send-migration': {
    ...{ label: 'moving', path: '/tsvmm.migration-progress' },
    reader: async () => (await import('./migration-progress.ts')).readMigrationProgress,
  },
}

const connectReasons: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such socket',
  ECONNREFUSED: 'nobody is listening',
  EACCES: 'permission denied',
  ECONNRESET: 'the connection was ended before an answer',
}

function connectReason(cause: Error): string {
  const code = 'code' in cause ? String(cause.code) : ''
  return connectReasons[code] ?? reasonOf(cause)
}

/** The reasons in a refusal, outermost first; the first names only the API. */
function reasonIn(status: number, text: string): string {
  const reasons = parse(text)
  if (!Array.isArray(reasons) || reasons.length === 0) return `status ${status}`
  return (reasons.length > 1 ? reasons.slice(1) : reasons).map(String).join(': ')
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
