import { type ChildProcess, fork } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { SideReport, SideRequest } from './migrating-side.native.ts'

const program = new URL('./migrating-side.native.ts', import.meta.url).pathname

/** Its output, and that over which it is asked. */
const ownDescriptors = 4

interface SideEvents {
  report: [SideReport]
  exit: []
}

/** A side of a migration in a process of its own, which can be killed: migrating-side.native.ts. */
export class MigratingSide extends EventEmitter<SideEvents> implements AsyncDisposable {
  readonly #child: ChildProcess
  /** What its machines have counted, all together. */
  readonly codes: number[] = []
  stderr = ''

  constructor() {
    super()
    this.#child = fork(program, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
    })
    this.#child.on('message', (report: SideReport) => {
      if (report.kind === 'code') this.codes.push(report.code)
      this.emit('report', report)
    })
    this.#child.on('exit', () => this.emit('exit'))
  }

  get pid(): number {
    return this.#child.pid ?? -1
  }

  get isAlive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** What it has said until now is of a migration that is over. */
  reset(): void {
    this.removeAllListeners()
    this.codes.length = 0
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }

  ask(request: SideRequest): void {
    this.#child.send(request, () => {})
  }

  /** The next report of such a kind; `gone` where it ends before that. */
  next(...kinds: readonly SideReport['kind'][]): Promise<SideReport | { readonly kind: 'gone' }> {
    if (!this.isAlive) return Promise.resolve({ kind: 'gone' })
    return new Promise(resolve => {
      const settle = (report: SideReport | { readonly kind: 'gone' }) => {
        this.off('report', onReport).off('exit', onExit)
        resolve(report)
      }
      const onReport = (report: SideReport) => {
        if (kinds.includes(report.kind)) settle(report)
      }
      const onExit = () => settle({ kind: 'gone' })
      this.on('report', onReport).on('exit', onExit)
    })
  }

  /** What there is of a machine, or of its way from host to host, in a process that has none. */
  leftovers(): string[] {
    const place = `/proc/${this.pid}`
    const files = entries(join(place, 'fd'), (path, fd) => (Number(fd) < ownDescriptors ? '' : readlinkSync(path)))
    const threads = entries(join(place, 'task'), path => readFileSync(join(path, 'comm'), 'utf8').trim())
    const parts = files.filter(name => /^socket:|kvm-v|memfd:|userfaultfd|\/disk$/.test(name))
    return [...parts, ...threads.filter(name => /memory|vcpu|doorkeeper/.test(name))]
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.isAlive) return
    const exited = once(this.#child, 'exit')
    this.kill()
    await exited
  }
}

/** What there is to say of each, but of those that are gone by then. */
function entries(folder: string, say: (path: string, name: string) => string): string[] {
  return readdirSync(folder).flatMap(name => {
    try {
      return [say(join(folder, name), name)]
    } catch {
      return []
    }
  })
}
